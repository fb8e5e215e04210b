#include "agent/clone/host_clock.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/timex.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>

#include "agent/base/kernel_log.hpp"
#include "agent/base/time.hpp"

namespace microvm::agent {
namespace {

// The kernel slews by half a millisecond in a second: this much takes more than three minutes.
constexpr int64_t kLargestSlewNs = 100'000'000;
constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kLongStreamMs = 1000;
// In a clone, whose streams are broken, it is the identity that sets the clock.
constexpr int64_t kShortestPauseMs = 500;
constexpr int64_t kLongestPauseMs = 60'000;

int64_t now_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * kNsPerSecond + now.tv_nsec;
}

// To a time and not by one: what else sets the clock meanwhile sets it to the same.
Outcome<void> step_clock(const HostTime& time) {
  const int64_t at_answer = time.host_ns + (time.answered_ns - time.asked_ns) / 2;
  const int64_t target = at_answer + (now_ns(CLOCK_MONOTONIC) - time.answered_ns);
  const timespec now{.tv_sec = target / kNsPerSecond, .tv_nsec = target % kNsPerSecond};
  if (clock_settime(CLOCK_REALTIME, &now) != 0) return fail_errno("set the clock");
  return {};
}

// A guest that keeps its clock by NTP itself needs no help in the small.
Outcome<void> slew_clock(int64_t by_ns) {
  timex clock{};
  if (adjtimex(&clock) < 0) return fail_errno("read the clock");
  if ((clock.status & STA_UNSYNC) == 0) return {};
  clock.modes = ADJ_OFFSET_SINGLESHOT;
  clock.offset = static_cast<long>(by_ns / 1000);
  if (adjtimex(&clock) < 0) return fail_errno("slew the clock");
  return {};
}

// As by a snapshot, and not by the host, which closes it: then the answer is of a life before, and
// the identity has set the clock since.
bool is_broken(int stream) {
  pollfd state{.fd = stream, .events = 0, .revents = 0};
  return poll(&state, 1, 0) > 0 && (state.revents & POLLERR) != 0;
}

Outcome<void> correct_clock(int stream, const HostTime& time) {
  const ClockChange change =
      judge_clock(time, now_ns(CLOCK_REALTIME) - (now_ns(CLOCK_MONOTONIC) - time.answered_ns));
  if (change.move == ClockMove::none) return {};
  if (change.move == ClockMove::slew) return slew_clock(change.by_ns);
  if (is_broken(stream)) return {};
  log_info("the clock was " + std::to_string(std::abs(change.by_ns) / kNsPerMs) + " ms " +
           (change.by_ns > 0 ? "behind" : "ahead of") + " the host's and is set");
  return step_clock(time);
}

// True: the host has closed the stream to be asked again.
bool ask_and_wait(const base::Fd& stream, int64_t asked_ns) {
  const auto time = read_host_time(stream.get(), asked_ns);
  if (!time) return false;
  if (const auto corrected = correct_clock(stream.get(), *time); !corrected)
    log_error("clock: " + corrected.error().message);
  char more[64];
  ssize_t got = 0;
  do {
    got = recv(stream.get(), more, sizeof more, 0);
  } while (got > 0 || (got < 0 && errno == EINTR));
  return got == 0;
}

}  // namespace

ClockChange judge_clock(const HostTime& time, int64_t guest_ns) {
  const int64_t least = time.host_ns - guest_ns;
  const int64_t most = least + (time.answered_ns - time.asked_ns);
  if (least <= 0 && most >= 0) return {};
  const int64_t by = least + (most - least) / 2;
  return {std::abs(by) > kLargestSlewNs ? ClockMove::step : ClockMove::slew, by};
}

Outcome<HostTime> read_host_time(int stream, int64_t asked_ns) {
  HostTime time;
  ssize_t got = 0;
  do {
    got = recv(stream, &time.host_ns, sizeof time.host_ns, MSG_WAITALL);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("the host's time");
  if (got != sizeof time.host_ns || time.host_ns <= 0)
    return fail("the host tells no time", EPROTO);
  time.asked_ns = asked_ns;
  time.answered_ns = now_ns(CLOCK_MONOTONIC);
  return time;
}

int64_t pause_before_asking_ms(int64_t last_pause_ms, bool told, int64_t lasted_ms) {
  const bool long_stream = lasted_ms >= kLongStreamMs;
  if (told && long_stream) return 0;
  const int64_t shortest = told ? kShortestPauseMs / 10 : kShortestPauseMs;
  return std::clamp(long_stream ? 0 : last_pause_ms * 2, shortest, kLongestPauseMs);
}

void follow_host_clock(base::Fd (*connect)()) {
  int64_t pause_ms = 0;
  bool told_before = false;
  for (;;) {
    const int64_t asked_ns = now_ns(CLOCK_MONOTONIC);
    const base::Fd stream = connect();
    const bool told = stream && ask_and_wait(stream, asked_ns);
    const int64_t lasted_ms = stream ? (now_ns(CLOCK_MONOTONIC) - asked_ns) / kNsPerMs : 0;
    // What was waited for one reason is none for the other.
    if (std::exchange(told_before, told) != told) pause_ms = 0;
    pause_ms = pause_before_asking_ms(pause_ms, told, lasted_ms);
    sleep_ms(pause_ms);
  }
}

}  // namespace microvm::agent
