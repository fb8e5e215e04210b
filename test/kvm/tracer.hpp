// The system calls of another process, by ptrace.
#pragma once

#include <sys/ptrace.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace microvm::vmm::test {

// All threads that a process has now, stopped at every system call of theirs. Belongs to the thread
// that made it. One that was killed meanwhile is left to its parent to wait for.
class Tracer {
 public:
  explicit Tracer(pid_t pid);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  struct Call {
    uint64_t number;
    uint64_t arguments[6];
    pid_t thread;
  };
  // Sees a call before the kernel does. A number of <errno.h>: the call fails with it, which must
  // be one whose first argument is a file descriptor; 0: it is carried out.
  using Visit = std::function<int(const Call&)>;
  // Of these, those by which files change or become durable, and the latter alone.
  [[nodiscard]] static bool writes(const Call& call);
  [[nodiscard]] static bool syncs(const Call& call);
  // Until `done` says so or 20 seconds are over; true: it said so.
  bool follow(const Visit& visit, const std::function<bool()>& done);
  // Kills the process at its `number`th writing call, before that is made; false: it was done
  // before.
  bool kill_at_write(size_t number, const std::function<bool()>& done);

 private:
  struct Thread {
    pid_t tid;
    int failure = 0;        // of the call it is in
    uint64_t argument = 0;  // its first one
  };
  static void look_at(Thread& thread, const Visit& visit);
  static void begin_failure(Thread& thread, const __ptrace_syscall_info& info, int error);
  static void end_failure(Thread& thread);

  const pid_t pid_;
  std::vector<Thread> threads_;
};

}  // namespace microvm::vmm::test
