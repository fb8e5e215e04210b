// A worker's process. It is reaped as soon as it has ended, by the reactor or by who waits for it,
// whichever comes first: no zombie stays until somebody looks at its Vm again.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "host/worker/reactor.hpp"
#include "sys/process.hpp"

namespace microvm::host {

// Held by shared_ptr only. Thread-safe.
class ChildProcess : public std::enable_shared_from_this<ChildProcess> {
 public:
  using Exit = sys::Process::Exit;

  explicit ChildProcess(sys::Process process) : process_(std::move(process)) {}

  // From now on the reactor reaps it, and keeps this object until then or as long as it runs. The
  // reactor must outlive the work it runs, nothing else.
  void reap_on(Reactor& reactor);

  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  Result<void> kill() {
    killed_by_us_ = true;
    return process_.kill(SIGKILL);
  }
  [[nodiscard]] bool killed_by_us() const { return killed_by_us_; }
  // Until it has ended, as often as one likes. Errors: as sys::Process::wait().
  Result<Exit> wait(const sys::WaitLimits& limits = {});

 private:
  Result<Exit> reap();

  const sys::Process process_;
  std::atomic<bool> killed_by_us_{false};
  std::optional<sys::Loop::WatchId> watch_;  // reactor's thread only
  std::mutex mutex_;
  std::optional<Result<Exit>> exit_;
};

}  // namespace microvm::host
