// The second half of a suspend, on a thread of its own: the state that was taken is compressed,
// synced and committed; then the worker and its memory go.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/limits.hpp"

namespace microvm::host {

class Suspension {
 public:
  // Looks at `stop` until the state is committed, and then says cancelled.
  using Work = std::function<Result<void>(const std::atomic<bool>& stop)>;
  static Result<std::shared_ptr<Suspension>> start(Work work);
  // Waits for the end.
  ~Suspension();
  Suspension(const Suspension&) = delete;
  Suspension& operator=(const Suspension&) = delete;

  void request_stop() { stop_ = true; }
  // Until it is over; then its result. Any thread.
  Result<void> wait(const Limits& limits) const;
  [[nodiscard]] bool over() const { return over_; }

 private:
  explicit Suspension(base::Fd done) : done_(std::move(done)) {}
  void run(const Work& work);

  std::atomic<bool> stop_{false};
  std::atomic<bool> over_{false};
  base::Fd done_;  // an eventfd, readable for good once it is over
  Result<void> result_;
  std::thread thread_;
};

}  // namespace microvm::host
