// Connections on which the guest asks what time it is: each is told so once, and closed when the
// guest is to ask again, which is when the host's clock was set, when the host has slept, and at
// times anyhow. A guest whose host's clock just runs thus costs nothing.
#pragma once

#include <chrono>
#include <list>

#include "base/fd.hpp"
#include "sys/loop.hpp"

namespace microvm::vmm::control {

// All functions for the loop's thread.
class ClockStreams {
 public:
  static constexpr size_t kMaxStreams = 16;  // of a hostile guest; further ones are closed at once
  // Clocks that nobody sets differ by a few milliseconds then.
  static constexpr std::chrono::milliseconds kPeriod{60'000};

  explicit ClockStreams(sys::Loop& loop, std::chrono::milliseconds period = kPeriod)
      : loop_(loop), period_(period) {}
  ~ClockStreams();
  ClockStreams(const ClockStreams&) = delete;
  ClockStreams& operator=(const ClockStreams&) = delete;

  void add(base::Fd stream);

 private:
  struct Stream {
    base::Fd fd;
    sys::Loop::WatchId watch = 0;
  };
  using Place = std::list<Stream>::iterator;
  [[nodiscard]] bool start_timer();
  void rang();
  void drop(Place stream);

  sys::Loop& loop_;
  const std::chrono::milliseconds period_;
  base::Fd timer_;
  sys::Loop::WatchId timer_watch_ = 0;
  std::list<Stream> streams_;
};

}  // namespace microvm::vmm::control
