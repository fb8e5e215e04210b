#include "vmm/control/clock_streams.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace microvm::vmm::control {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

int64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

}  // namespace

ClockStreams::~ClockStreams() {
  while (!streams_.empty()) drop(streams_.begin());
  if (timer_) loop_.unwatch(timer_watch_);
}

// The timer before the time: what happens to the clock afterwards is heard of. Without one nobody
// would end the stream, so it ends at once, and the guest asks again when it will.
void ClockStreams::add(base::Fd stream) {
  const bool will_ring = !streams_.empty() || start_timer();
  const int64_t now = wall_clock_ns();
  [[maybe_unused]] const ssize_t told =
      ::send(stream.get(), &now, sizeof now, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (!will_ring || streams_.size() >= kMaxStreams) return;
  const auto place = streams_.insert(streams_.end(), Stream{std::move(stream), 0});
  // The guest has nothing to say: whatever comes is its end.
  place->watch = loop_.watch(place->fd.get(), POLLIN, [this, place](uint32_t) { drop(place); });
}

// On the wall clock, so that it is also told when that is set, or goes on after a sleep of the host
// (timerfd_create(2)).
bool ClockStreams::start_timer() {
  if (!timer_) {
    timer_.reset(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) return false;
    timer_watch_ = loop_.watch(timer_.get(), POLLIN, [this](uint32_t) { rang(); });
  }
  const int64_t at = wall_clock_ns() + std::chrono::nanoseconds(period_).count();
  itimerspec time{};
  time.it_value = {.tv_sec = at / kNsPerSecond, .tv_nsec = at % kNsPerSecond};
  const int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
  // It runs all the same when the clock was set while it did not.
  return ::timerfd_settime(timer_.get(), flags, &time, nullptr) == 0 || errno == ECANCELED;
}

void ClockStreams::rang() {
  uint64_t times = 0;
  const ssize_t got = ::read(timer_.get(), &times, sizeof times);
  if (got < 0 && errno != ECANCELED) return;
  while (!streams_.empty()) drop(streams_.begin());
}

void ClockStreams::drop(Place stream) {
  loop_.unwatch(stream->watch);
  streams_.erase(stream);
}

}  // namespace microvm::vmm::control
