// The round trip of a trivial command in a microVM that runs.
//   exec DATA_DIRECTORY IMAGE RUNS
#include "microvm/runtime.hpp"
#include "report.hpp"

using bench::need;

int main(int argc, char** argv) {
  if (argc != 4) bench::fail("usage: exec DATA_DIRECTORY IMAGE RUNS");
  const uint32_t runs = bench::positive_number(argv[3]);
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  auto vm = need(runtime.run(argv[2]));
  microvm::ExecOptions command;
  command.argv = {"true"};
  need(vm.exec_collect(command));  // the first one also reads the program
  bench::Series trip;
  bench::Series exits;
  for (uint32_t run = 0; run < runs; ++run) {
    const auto before = need(vm.counters()).exits;
    const auto start = bench::Clock::now();
    need(vm.exec_collect(command));
    trip.add(bench::ms_since(start));
    exits.add(static_cast<double>(need(vm.counters()).exits - before));
  }
  bench::print_report("exec",
                      {{"n", runs}, {"exec_ms", trip.json()}, {"exits_per_exec", exits.json()}});
  return 0;
}
