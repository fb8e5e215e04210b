// Suspends and resumes a microVM again and again, and sees after each time that it went on
// counting.
//   soak_cycles DATA_DIRECTORY VM CYCLES LEAST
// LEAST: what test/soak/workload.py has counted to at least. Prints what it has counted to at the
// end; a failure is one line on standard error and exit status 1.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "microvm/runtime.hpp"

namespace {

using namespace std::chrono_literals;

// The guest's programs are to have done something between two suspensions.
constexpr auto kAwake = 200ms;
constexpr auto kPatience = 30s;

[[noreturn]] void fail(int cycle, const std::string& why) {
  std::fprintf(stderr, "soak: cycle %d: %s\n", cycle, why.c_str());
  std::exit(1);
}

template <class T>
T need(int cycle, microvm::Result<T> result) {
  if (!result) fail(cycle, result.error().message);
  return std::move(*result);
}

unsigned long count(microvm::Vm& vm, int cycle) {
  const auto result = need(cycle, vm.exec_collect({.argv = {"cat", "/dev/shm/count"}}));
  if (result.status.code != 0) fail(cycle, "no count: " + result.err);
  return std::stoul(result.out);
}

unsigned long count_above(unsigned long last, microvm::Vm& vm, int cycle) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const unsigned long now = count(vm, cycle);
    if (now > last) return now;
    if (now < last || std::chrono::steady_clock::now() > give_up) {
      fail(cycle, "the count went from " + std::to_string(last) + " to " + std::to_string(now));
    }
    std::this_thread::sleep_for(kAwake);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int cycles = std::atoi(argv[3]);
  unsigned long last = std::stoul(argv[4]);
  const auto runtime = need(0, microvm::Runtime::open({.data_dir = argv[1]}));
  auto vm = need(0, runtime.attach(argv[2]));
  for (int cycle = 1; cycle <= cycles; ++cycle) {
    need(cycle, vm.suspend());
    need(cycle, vm.exec_collect({.argv = {"true"}}));  // resumes it
    std::this_thread::sleep_for(kAwake);
    last = count_above(last, vm, cycle);
  }
  std::printf("%lu\n", last);
  return 0;
}
