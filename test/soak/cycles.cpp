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

constexpr auto kPause = 200ms;
constexpr auto kPatience = 30s;
// Prints the count in memory; fails when a program ended, or the file is behind the memory. The
// shell does all of it itself: programs take most of a cycle where the processor is emulated.
constexpr const char* kLook = R"(set -e
test ! -e /root/fio.failed
read pid </dev/shm/workload.pid
kill -0 $pid
read memory </dev/shm/count
read file </root/count
test $file -ge $memory
echo $memory)";

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
  const auto result = need(cycle, vm.exec_collect({.argv = {"sh", "-c", kLook}}));
  if (result.status.code != 0) fail(cycle, "an error in the guest: " + result.err);
  return std::stoul(result.out);
}

// Resumes it, and waits until its programs have done something.
unsigned long count_above(unsigned long last, microvm::Vm& vm, int cycle) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const unsigned long now = count(vm, cycle);
    if (now > last) return now;
    if (now < last || std::chrono::steady_clock::now() > give_up) {
      fail(cycle, "the count went from " + std::to_string(last) + " to " + std::to_string(now));
    }
    std::this_thread::sleep_for(kPause);
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
    last = count_above(last, vm, cycle);
  }
  std::printf("%lu\n", last);
  return 0;
}
