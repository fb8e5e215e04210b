// A cgroup v2 of a test's own, with a program in it that can be seen to run or to stand.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "agent/clone/freezer.hpp"
#include "base/fd.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {

class TestCgroup {
 public:
  // None: this machine has none where one may be made.
  static std::optional<TestCgroup> make() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string line; std::getline(mounts, line);) {
      std::istringstream fields(line);
      std::string device, place, type;
      fields >> device >> place >> type;
      if (type != "cgroup2") continue;
      std::string path = place + "/microvm-test-" + std::to_string(::getpid());
      if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) continue;
      Freezer freezer;  // makes the leaves
      TestCgroup cgroup(std::move(path));
      if (freezer.adopt_cgroup(cgroup.open())) return cgroup;
    }
    return std::nullopt;
  }
  TestCgroup(TestCgroup&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;
  ~TestCgroup() {
    // The kernel lets go of its last process a moment after that was reaped.
    if (path_.empty()) return;
    for (const std::string& path : {programs(), command(), path_})
      eventually([&] { return ::rmdir(path.c_str()) == 0; });
  }
  [[nodiscard]] std::string programs() const { return path_ + "/programs"; }
  [[nodiscard]] std::string command() const { return path_ + "/command"; }
  [[nodiscard]] base::Fd open() const {
    return base::Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

 private:
  explicit TestCgroup(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Counts as fast as it can, until it is killed: a process that runs has another count soon.
class CountingProgram {
 public:
  explicit CountingProgram(const TestCgroup& cgroup) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    out_.reset(ends[0]);
    const base::Fd in(ends[1]);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) count_for_ever(in.get());
    std::ofstream(cgroup.programs() + "/cgroup.procs") << pid_;
  }
  ~CountingProgram() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  CountingProgram(const CountingProgram&) = delete;
  CountingProgram& operator=(const CountingProgram&) = delete;

  // It writes whenever there is room.
  [[nodiscard]] bool runs() {
    drain();
    return eventually([&] { return drain() > 0; });
  }
  // Not a byte comes, for as long as it takes to be sure that it would have come.
  [[nodiscard]] bool stands() {
    drain();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return drain() == 0;
  }

 private:
  [[noreturn]] static void count_for_ever(int fd) {
    for (;;) {
      [[maybe_unused]] const ssize_t written = ::write(fd, "x", 1);
    }
  }
  size_t drain() {
    std::array<char, 65536> bytes{};
    size_t total = 0;
    for (ssize_t got = 0; (got = ::read(out_.get(), bytes.data(), bytes.size())) > 0;) {
      total += static_cast<size_t>(got);
      if (total > 1'000'000) break;  // one that runs writes as long as it is read
    }
    return total;
  }

  base::Fd out_;
  pid_t pid_ = -1;
};

}  // namespace microvm::agent
