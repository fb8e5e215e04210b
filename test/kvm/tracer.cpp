#include "tracer.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

namespace microvm::vmm::test {
namespace {

// Waits until it has stopped or ended.
bool has_ended(pid_t tid) {
  siginfo_t what{};
  ::waitid(P_PID, static_cast<id_t>(tid), &what, WSTOPPED | WEXITED | WNOWAIT | __WALL);
  return what.si_code != CLD_TRAPPED && what.si_code != CLD_STOPPED;
}

void set_register(pid_t tid, size_t offset, uint64_t value) {
  ::ptrace(PTRACE_POKEUSER, tid, offset, value);
}

}  // namespace

Tracer::Tracer(pid_t pid) : pid_(pid) {
  const auto tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    const auto tid = static_cast<pid_t>(std::stol(task.path().filename()));
    // Kernel threads of KVM stand there too and cannot be traced.
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, PTRACE_O_TRACESYSGOOD) == 0) {
      threads_.push_back({.tid = tid});
    }
  }
  REQUIRE_MESSAGE(!threads_.empty(), "ptrace: " << std::strerror(errno));
  for (const Thread& thread : threads_) {
    ::ptrace(PTRACE_INTERRUPT, thread.tid, nullptr, nullptr);
    ::waitpid(thread.tid, nullptr, __WALL);
    ::ptrace(PTRACE_SYSCALL, thread.tid, nullptr, nullptr);
  }
}

Tracer::~Tracer() {
  // Its first thread last: the end of that one is told when no other is left.
  for (auto thread = threads_.rbegin(); thread != threads_.rend(); ++thread) {
    ::ptrace(PTRACE_INTERRUPT, thread->tid, nullptr, nullptr);
    if (has_ended(thread->tid)) {
      if (thread->tid != pid_) ::waitpid(thread->tid, nullptr, __WALL);
      continue;
    }
    ::waitpid(thread->tid, nullptr, __WALL);
    if (thread->failure != 0) end_failure(*thread);
    ::ptrace(PTRACE_DETACH, thread->tid, nullptr, nullptr);
  }
}

bool Tracer::writes(const Call& call) {
  constexpr std::array kWriting = {SYS_pwrite64,  SYS_pwritev, SYS_pwritev2,  SYS_ftruncate,
                                   SYS_fallocate, SYS_fsync,   SYS_fdatasync, SYS_sync_file_range};
  return std::ranges::find(kWriting, static_cast<long>(call.number)) != kWriting.end();
}

bool Tracer::syncs(const Call& call) {
  return call.number == SYS_fsync || call.number == SYS_fdatasync;
}

bool Tracer::follow(const Visit& visit, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < deadline) {
    bool stopped = false;
    for (Thread& thread : threads_) {
      int status = 0;
      if (::waitpid(thread.tid, &status, __WALL | WNOHANG) != thread.tid) continue;
      if (!WIFSTOPPED(status)) continue;
      stopped = true;
      look_at(thread, visit);
      ::ptrace(PTRACE_SYSCALL, thread.tid, nullptr, nullptr);
    }
    if (done()) return true;
    // Its threads need the processor, of which there may be one.
    if (!stopped) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return false;
}

bool Tracer::kill_at_write(size_t number, const std::function<bool()>& done) {
  bool killed = false;
  size_t calls = 0;
  const auto kill = [&](const Call& call) {
    if (killed || !writes(call) || ++calls != number) return 0;
    killed = true;
    ::kill(pid_, SIGKILL);
    return 0;
  };
  REQUIRE(follow(kill, [&] { return killed || done(); }));
  return killed;
}

void Tracer::look_at(Thread& thread, const Visit& visit) {
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, thread.tid, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_EXIT && thread.failure != 0) end_failure(thread);
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return;
  Call call{info.entry.nr, {}, thread.tid};
  for (size_t i = 0; i < std::size(call.arguments); ++i) call.arguments[i] = info.entry.args[i];
  if (const int error = visit(call); error != 0) begin_failure(thread, info, error);
}

// With another number it would meet the worker's filter; without its file it does nothing.
void Tracer::begin_failure(Thread& thread, const __ptrace_syscall_info& info, int error) {
  thread.failure = error;
  thread.argument = info.entry.args[0];
  set_register(thread.tid, offsetof(user_regs_struct, rdi), ~uint64_t{0});
}

void Tracer::end_failure(Thread& thread) {
  set_register(thread.tid, offsetof(user_regs_struct, rdi), thread.argument);
  set_register(thread.tid, offsetof(user_regs_struct, rax),
               static_cast<uint64_t>(-static_cast<int64_t>(thread.failure)));
  thread.failure = 0;
}

}  // namespace microvm::vmm::test
