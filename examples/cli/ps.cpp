#include <fmt/core.h>

#include "command.hpp"
#include "json.hpp"
#include "options.hpp"
#include "output.hpp"

namespace cli {
namespace {

std::string describe_state(const microvm::VmInfo& vm) {
  std::string text = microvm::vm_state_name(vm.state);
  if (!vm.state_reason.empty() && vm.state_reason != text) text += " (" + vm.state_reason + ")";
  return text;
}

void print_vms(const std::vector<microvm::VmInfo>& vms) {
  std::vector<std::vector<std::string>> rows = {
      {"ID", "IMAGE", "CREATED", "STATE", "MEMORY", "CPUS", "NAME"}};
  for (const auto& vm : vms) {
    rows.push_back({vm.id, vm.image, human_age(vm.created), describe_state(vm),
                    human_size(vm.memory_bytes), std::to_string(vm.vcpus), vm.name});
  }
  print_table(rows);
}

}  // namespace

int ps(const Context& context, const Arguments& arguments) {
  OptionParser parser("ps", "[-a] [-q] [--json]", "List the microVMs that have not ended.");
  parser.flag("a,all", "Those that have ended too")
      .flag("q,quiet", "Only their ids")
      .flag("json", "Print JSON");
  if (!parser.parse(arguments)) return parser.exit_code();
  auto runtime = microvm::Runtime::open(context.runtime);
  if (!runtime) return fail(runtime.error());
  auto vms = runtime->vms(context.limits());
  if (!vms) return fail(vms.error());
  if (!parser.has("all")) {
    std::erase_if(*vms, [](const auto& vm) { return vm.state == microvm::VmState::terminated; });
  }
  if (parser.has("json")) {
    print_json(*vms);
  } else if (parser.has("quiet")) {
    for (const auto& vm : *vms) fmt::print("{}\n", vm.id);
  } else {
    print_vms(*vms);
  }
  return kOk;
}

}  // namespace cli
