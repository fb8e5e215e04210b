// The restore path is judged by counts that do not wobble: system calls of the worker from the
// request to the first instruction of the guest, counted by ptrace.
#include <doctest/doctest.h>
#include <linux/kvm.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <filesystem>

#include "captured.hpp"
#include "sys/file.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

// All threads of one process, stopped at every system call.
class Tracer {
 public:
  explicit Tracer(pid_t pid) {
    const auto tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      const auto tid = static_cast<pid_t>(std::stol(task.path().filename()));
      // Kernel threads of KVM stand there too and cannot be traced.
      if (::ptrace(PTRACE_SEIZE, tid, nullptr, PTRACE_O_TRACESYSGOOD) == 0) tids_.push_back(tid);
    }
    for (const pid_t tid : tids_) {
      ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
      ::waitpid(tid, nullptr, __WALL);
      ::ptrace(PTRACE_SYSCALL, tid, nullptr, nullptr);
    }
  }
  ~Tracer() {
    for (const pid_t tid : tids_) {
      ::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr);
      ::waitpid(tid, nullptr, __WALL);
      ::ptrace(PTRACE_DETACH, tid, nullptr, nullptr);
    }
  }
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  struct Counts {
    unsigned calls = 0;
    unsigned ioctls = 0;
  };
  // From the first recvmsg to KVM_RUN, both included. Empty when that does not come.
  std::optional<Counts> count_to_first_run() {
    Counts counts;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
      for (const pid_t tid : tids_) {
        int status = 0;
        if (::waitpid(tid, &status, __WALL | WNOHANG) != tid || !WIFSTOPPED(status)) continue;
        const bool done = note(tid, counts);
        ::ptrace(PTRACE_SYSCALL, tid, nullptr, nullptr);
        if (done) return counts;
      }
    }
    return std::nullopt;
  }

 private:
  bool note(pid_t tid, Counts& counts) {
    __ptrace_syscall_info info{};
    if (::ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) <= 0) return false;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return false;
    if (counts.calls == 0 && info.entry.nr != SYS_recvmsg) return false;
    ++counts.calls;
    if (info.entry.nr != SYS_ioctl) return false;
    ++counts.ioctls;
    return info.entry.args[1] == KVM_RUN;
  }

  std::vector<pid_t> tids_;
};

struct Saved {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
};

Saved saved_guest(const TinyShape& shape) {
  Saved saved;
  WorkerProcess worker;
  worker.run(counting_guest(), shape);
  worker.kernel_log(10);
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {saved.memory.get(), saved.state.get()});
  return saved;
}

}  // namespace

TEST_CASE("restore: at most 60 system calls from the request to the guest") {
  for (const bool plain_io : {false, true}) {
    for (const uint16_t vcpus : {uint16_t{1}, uint16_t{2}}) {
      const TinyShape shape{.vcpus = vcpus};
      const auto saved = saved_guest(shape);
      WorkerProcess worker(plain_io);
      worker.shape(shape);
      Tracer tracer(worker.pid());
      worker.send_restore(saved.memory.get(), saved.state.get());
      const auto counts = tracer.count_to_first_run();
      REQUIRE(counts);
      MESSAGE("vcpus " << vcpus << (plain_io ? ", plain io" : ", io_uring") << ": " << counts->calls
                       << " calls, " << counts->ioctls << " of them ioctls");
      CHECK(counts->calls <= 60);
    }
  }
}

TEST_CASE("restore: each piece of an overlay costs three system calls") {
  WorkerProcess worker;
  worker.run(touching_guest(100, 8 * kPage));
  worker.kernel_log(10);
  const auto captured = capture(worker.owner());
  unsigned pieces = 0;  // fewer where the host gives the guest pages of 2 MiB
  REQUIRE(sys::for_each_data_range(captured.pages.get(), [&](uint64_t, uint64_t) -> Result<void> {
    ++pieces;
    return {};
  }));
  const auto zeros = zero_memory();
  WorkerProcess clone;
  clone.shape();
  Tracer tracer(clone.pid());
  clone.send_restore(zeros.get(), captured.state.get(), {captured.pages.get()});
  const auto counts = tracer.count_to_first_run();
  REQUIRE(counts);
  MESSAGE("overlay of " << pieces << " pieces: " << counts->calls << " calls, " << counts->ioctls
                        << " of them ioctls");
  CHECK(pieces <= 110);
  CHECK(counts->calls >= 3 * pieces);
  CHECK(counts->calls <= 3 * pieces + 60);
}
