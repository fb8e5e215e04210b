// The second half of a suspend, on a thread of its own: the state that was taken is compressed,
// synced and committed; then the worker and its memory go.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

class Suspension {
 public:
  // Says cancelled when it was stopped before the state was committed; afterwards it only hurries.
  class Stop {
   public:
    std::atomic<bool> flag{false};
    CancelToken token;  // of the same meaning

    // By the thread once it has stopped: whether who stopped it wakes the guest. False: nobody
    // waits for it any more, the thread has to.
    [[nodiscard]] bool hand_over() const;

   private:
    friend class Suspension;
    enum class Hands : uint8_t { nobody, stopper, thread };
    mutable std::atomic<Hands> hands_{Hands::nobody};
  };
  using Work = std::function<Result<void>(const Stop& stop)>;
  static Result<std::shared_ptr<Suspension>> start(Work work);
  // Waits for the end.
  ~Suspension();
  Suspension(const Suspension&) = delete;
  Suspension& operator=(const Suspension&) = delete;

  void request_stop() {
    stop_.flag = true;
    stop_.token.cancel();
  }
  // By who has requested the stop and can not wait for it: whether the thread will wake the guest
  // by itself. False: it is over, or is in a moment, and the guest is the caller's to wake.
  [[nodiscard]] bool leave();
  // Until it is over; then its result. Any thread.
  Result<void> wait(const Limits& limits) const;
  [[nodiscard]] bool over() const { return over_; }

 private:
  explicit Suspension(base::Fd done) : done_(std::move(done)) {}
  void run(const Work& work);

  Stop stop_;
  std::atomic<bool> over_{false};
  base::Fd done_;  // an eventfd, readable for good once it is over
  Result<void> result_;
  std::thread thread_;
};

}  // namespace microvm::host
