// What the C++ interface costs: exec and run() one after the other, then many execs at once.
//   cpp DATA_DIRECTORY VM IMAGE EXECS RUNS CONCURRENT
// Prints one line of JSON, as the programs of the other languages beside this one do.
#include <poll.h>

#include <fstream>
#include <iostream>

#include "../report.hpp"
#include "microvm/runtime.hpp"

using bench::need;

namespace {

uint64_t of_status(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (uint64_t value = 0; word == name && status >> value) return value;
  }
  return 0;
}

bench::Json execs(microvm::Vm& vm, uint32_t count) {
  bench::Json us = bench::Json::array();
  need(vm.exec_collect({.argv = {"true"}}));  // the first one also reads the program
  for (uint32_t i = 0; i < count; ++i) {
    const auto start = bench::Clock::now();
    need(vm.exec_collect({.argv = {"true"}}));
    us.push_back(bench::ms_since(start) * 1000);
  }
  return us;
}

bench::Json runs(microvm::Runtime& runtime, const std::string& image, uint32_t count) {
  bench::Json ms = bench::Json::array();
  for (uint32_t i = 0; i < count; ++i) {
    const auto start = bench::Clock::now();
    auto vm = need(runtime.run(image));
    ms.push_back(bench::ms_since(start));
    need(vm.terminate());
  }
  return ms;
}

// True when it has ended.
bool take(microvm::Exec& exec) {
  for (;;) {
    const auto piece = exec.try_read();
    if (!piece && piece.error().code == microvm::ErrorCode::would_block) return false;
    if (!need(piece)) return true;
  }
}

// All of them run before the first is let go; one thread waits for all.
bench::Json concurrent(microvm::Vm& vm, uint32_t count) {
  const auto start = bench::Clock::now();
  std::vector<microvm::Exec> programs;
  for (uint32_t i = 0; i < count; ++i) {
    programs.push_back(need(vm.exec({.argv = {"cat"}, .stdin_open = true})));
  }
  const bench::Json beside = {{"threads", of_status("Threads:")}, {"rss_kib", of_status("VmRSS:")}};
  std::vector<pollfd> fds;
  for (microvm::Exec& program : programs) {
    need(program.close_stdin());
    fds.push_back({program.fd(), POLLIN, 0});
  }
  for (uint32_t left = count; left > 0;) {
    if (::poll(fds.data(), fds.size(), -1) < 0) bench::fail("poll");
    for (size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents == 0 || !take(programs[i])) continue;
      if (need(programs[i].wait()).code != 0) bench::fail("a program has failed");
      fds[i].fd = -1;
      --left;
    }
  }
  return {{"n", count},
          {"ms", bench::ms_since(start)},
          {"threads", beside["threads"]},
          {"rss_kib", beside["rss_kib"]}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) bench::fail("usage: cpp DATA_DIRECTORY VM IMAGE EXECS RUNS CONCURRENT");
  auto runtime = need(microvm::Runtime::open({.data_dir = argv[1], .log = {}, .on_event = {}}));
  auto vm = need(runtime.attach(argv[2]));
  const bench::Json figures = {{"language", "c++"},
                               {"exec_us", execs(vm, bench::positive_number(argv[4]))},
                               {"run_ms", runs(runtime, argv[3], bench::positive_number(argv[5]))},
                               {"concurrent", concurrent(vm, bench::positive_number(argv[6]))}};
  std::cout << figures.dump() << '\n';
}
