// What there is to do at the end of an operation's stream, also for calls that must not wait: there
// errands of the Vm do it, and the calls say would_block until they have.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "host/session/operation.hpp"
#include "host/session/stream_home.hpp"

namespace microvm::host {

// How many frames a call that must not wait takes at most before it comes to an end: a guest may
// send without one.
inline constexpr int kFramesAtOnce = 64;

// Why a stream has ended. It breaks a moment before its worker says so. Thread-safe.
class StreamEnd {
 public:
  // No home: the link is all there is to ask.
  explicit StreamEnd(std::shared_ptr<StreamHome> home) : home_(std::move(home)) {}
  // Only once it has ended; it stays readable until the answer is there.
  [[nodiscard]] Error why(const Operation& operation, const Limits& limits) const;

 private:
  struct Answer {
    std::mutex mutex;
    bool is_asked = false;
    std::optional<Error> why;
  };
  static Error find(StreamHome* home, AgentLink& link, const std::string& what);

  std::shared_ptr<StreamHome> home_;
  std::shared_ptr<Answer> answer_ = std::make_shared<Answer>();
};

// The last word about a program whose `exited` has arrived: its agent forgets it, and its name can
// be given to another when that is through. One thread at a time.
class Farewell {
 public:
  // Waits for `patience` and as long as the limits allow at most. Where nothing may wait an errand
  // does, and at its end the stream has ended too.
  void say(const std::shared_ptr<Operation>& operation, StreamHome* home,
           std::chrono::milliseconds patience, const Limits& limits);
  // Until that is through.
  [[nodiscard]] Result<void> wait(const Limits& limits);

 private:
  std::shared_ptr<Operation> operation_;  // none: there is nothing to wait for
};

}  // namespace microvm::host
