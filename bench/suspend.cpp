// What suspending and resuming a Linux guest with an app costs: time to acknowledge and to durable,
// resume until the first exec is answered, bytes that changed and bytes that were stored.
//   suspend DATA_DIRECTORY IMAGE RUNS
#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

struct Figures {
  bench::Series pause, acknowledged, durable, changed, stored, resume, first_exec;

  [[nodiscard]] bench::Json json() const {
    return {{"pause_us", pause.json()},
            {"acknowledged_us", acknowledged.json()},
            {"durable_us", durable.json()},
            {"changed_bytes", changed.json()},
            {"stored_bytes", stored.json()},
            {"resume_ms", resume.json()},
            {"resume_to_first_exec_ms", first_exec.json()}};
  }
};

void cycle(microvm::Vm& vm, bool durable, Figures& figures) {
  const auto times = need(vm.suspend({.wait_durable = durable}));
  figures.pause.add(static_cast<double>(times.pause_us));
  figures.acknowledged.add(static_cast<double>(times.acknowledged_us));
  figures.durable.add(static_cast<double>(times.durable_us));
  figures.changed.add(static_cast<double>(times.changed_bytes));
  figures.stored.add(static_cast<double>(times.stored_bytes));
  const auto start = bench::Clock::now();
  need(vm.resume());
  figures.resume.add(bench::ms_since(start));
  microvm::ExecOptions command;
  command.argv = {"true"};
  need(vm.exec_collect(command));
  figures.first_exec.add(bench::ms_since(start));
}

Figures measure(microvm::Runtime& runtime, const std::string& image, uint32_t runs, bool durable) {
  auto vm = need(runtime.run(image));
  Figures not_counted;  // the first one also has what the launch changed
  cycle(vm, durable, not_counted);
  Figures figures;
  for (uint32_t run = 0; run < runs; ++run) {
    need(runtime.warm(image, 1));
    cycle(vm, durable, figures);
  }
  need(vm.terminate());
  return figures;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) bench::fail("usage: suspend DATA_DIRECTORY IMAGE RUNS");
  const uint32_t runs = bench::positive_number(argv[3]);
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  bench::say("suspend: resumes from disk (page cache)");
  const Figures disk = measure(runtime, argv[2], runs, true);
  bench::say("suspend: resumes before the state is durable");
  const Figures memory = measure(runtime, argv[2], runs, false);
  bench::print_report("suspend",
                      {{"n", runs}, {"from_disk", disk.json()}, {"from_memory", memory.json()}});
  return 0;
}
