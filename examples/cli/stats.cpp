// What microVMs use of this host.
#include <fmt/core.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "command.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

struct Usage {
  uint64_t memory_bytes = 0;  // PSS: what is shared counts in parts
  double cpu_seconds = 0;
  uint64_t exits = 0;
  microvm::NetworkCounters network;
};

uint64_t memory_of(uint32_t pid) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Pss:")) return std::strtoull(line.c_str() + 4, nullptr, 10) * 1024;
  }
  return 0;
}

// Fields 14 and 15 of proc(5), after the name in parentheses.
double cpu_of(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Usage usage_of(const microvm::Runtime& runtime, const microvm::VmInfo& info) {
  Usage usage;
  if (info.state != microvm::VmState::running) return usage;
  usage.memory_bytes = memory_of(info.worker_pid);
  usage.cpu_seconds = cpu_of(info.worker_pid);
  if (const auto vm = runtime.attach(info.id)) {
    if (const auto counters = vm->counters()) {
      usage.exits = counters->exits;
      usage.network = counters->network;
    }
  }
  return usage;
}

}  // namespace

int stats(const Context& context, const Arguments& arguments) {
  OptionParser parser("stats", "[--json]", "Show what the microVMs use of this host.",
                      "MEMORY is their part of what they share (PSS), CPU the time used since they "
                      "were\nstarted or resumed last, OUT and IN what their connections have sent "
                      "and received.");
  parser.flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  const auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  const auto vms = runtime->vms(context.limits());
  if (!vms) return fail(vms.error());
  std::vector<Json> all;
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "MEMORY", "OF", "CPU", "EXITS", "OUT", "IN", "NAME"}};
  for (const auto& vm : *vms) {
    if (vm.state == microvm::VmState::terminated) continue;
    const Usage usage = usage_of(*runtime, vm);
    rows.push_back({vm.id, microvm::vm_state_name(vm.state), human_size(usage.memory_bytes),
                    human_size(vm.memory_bytes), fmt::format("{:.1f}s", usage.cpu_seconds),
                    std::to_string(usage.exits), human_size(usage.network.bytes_from_guest),
                    human_size(usage.network.bytes_to_guest), vm.name});
    all.push_back({{"id", vm.id},
                   {"state", microvm::vm_state_name(vm.state)},
                   {"memory_pss_bytes", usage.memory_bytes},
                   {"cpu_seconds", usage.cpu_seconds},
                   {"exits", usage.exits},
                   {"network", to_json(usage.network)}});
  }
  if (parser.has("json")) {
    print_json(all);
  } else {
    print_table(rows);
  }
  return kOk;
}

}  // namespace cli
