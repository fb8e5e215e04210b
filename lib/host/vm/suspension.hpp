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
  struct Stop {
    std::atomic<bool> flag{false};
    CancelToken token;  // of the same meaning
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
