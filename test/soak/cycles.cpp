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
constexpr int kExecEvery = 10;
[[noreturn]] void fail(int cycle, const std::string& why) {
  std::fprintf(stderr, "soak: cycle %d: %s\n", cycle, why.c_str());
  std::exit(1);
}

template <class T>
T need(int cycle, microvm::Result<T> result) {
  if (!result) fail(cycle, result.error().message);
  return std::move(*result);
}

bool is_there(microvm::Vm& vm, int cycle, const std::string& path) {
  const auto info = vm.stat_file(path);
  if (!info && info.error().code == microvm::ErrorCode::not_found) return false;
  need(cycle, info);
  return true;
}

unsigned long number_in(microvm::Vm& vm, int cycle, const std::string& path) {
  const auto bytes = need(cycle, vm.read_file(path));
  return std::stoul(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

// The count in memory; fails when a program ended, or the file is behind the memory. By the agent
// itself: programs take most of a cycle where the processor is emulated.
unsigned long count(microvm::Vm& vm, int cycle) {
  if (is_there(vm, cycle, "/root/fio.failed")) fail(cycle, "fio has failed");
  const auto pid = number_in(vm, cycle, "/dev/shm/workload.pid");
  if (!is_there(vm, cycle, "/proc/" + std::to_string(pid))) fail(cycle, "the workload has ended");
  const auto memory = number_in(vm, cycle, "/dev/shm/count");
  const auto file = number_in(vm, cycle, "/root/count");
  if (file < memory) {
    fail(cycle, std::to_string(file) + " in the file, " + std::to_string(memory) + " in memory");
  }
  return memory;
}

// Once in a while a program as well.
void check_exec(microvm::Vm& vm, int cycle) {
  const auto said = need(cycle, vm.exec_collect({.argv = {"echo", "here"}}));
  if (said.status.code != 0 || said.out != "here\n") fail(cycle, "echo: " + said.out + said.err);
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
    if (cycle % kExecEvery == 0) check_exec(vm, cycle);
  }
  std::printf("%lu\n", last);
  return 0;
}
