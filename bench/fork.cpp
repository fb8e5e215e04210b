// What forks of a running Linux guest cost: each, the pause of the source, and their memory.
//   fork DATA_DIRECTORY IMAGE COUNT...
#include <fstream>

#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

double pss_kib(uint32_t pid) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps_rollup");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Pss:")) return std::strtod(line.c_str() + 4, nullptr);
  }
  bench::fail("no Pss in /proc/" + std::to_string(pid) + "/smaps_rollup: may it be read?");
}

// As the event of the fork tells it: "3, paused for 1234 us".
double pause_us(const microvm::Runtime& runtime, const std::string& id) {
  double pause = 0;
  auto events = need(runtime.events());
  while (const auto event = need(events.next())) {
    if (event->vm_id != id || event->kind != microvm::VmEvent::Kind::forked) continue;
    constexpr std::string_view kBefore = "paused for ";
    const size_t at = event->detail.find(kBefore);
    pause = std::strtod(event->detail.c_str() + at + kBefore.size(), nullptr);
  }
  return pause;
}

bench::Json measure(microvm::Runtime& runtime, const std::string& image, uint32_t count) {
  auto source = need(runtime.run(image));
  const auto start = bench::Clock::now();
  auto forks = need(source.fork({.count = count}));
  const double ms = bench::ms_since(start);
  bench::Series pss;
  for (const auto& fork : forks) pss.add(pss_kib(need(fork.info()).worker_pid));
  const double pause = pause_us(runtime, source.id());
  for (auto& fork : forks) need(fork.terminate());
  need(source.terminate());
  return {{"forks", count},
          {"ms_each", ms / count},
          {"source_pause_us", pause},
          {"pss_kib", pss.json()}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) bench::fail("usage: fork DATA_DIRECTORY IMAGE COUNT...");
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  bench::Json rows = bench::Json::array();
  for (int i = 3; i < argc; ++i) {
    const uint32_t count = bench::positive_number(argv[i]);
    bench::say("fork: " + std::to_string(count));
    rows.push_back(measure(runtime, argv[2], count));
  }
  bench::print_report("fork", {{"rows", rows}});
  return 0;
}
