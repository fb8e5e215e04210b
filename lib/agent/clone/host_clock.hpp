// A guest's wall clock runs by itself: beside the host's it drifts, and it knows nothing of a host
// that slept or whose clock was set. So the agent asks, and follows. The host tells by closing the
// connection that it is worth asking again; meanwhile nobody wakes up.
#pragma once

#include <cstdint>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// What the host's wall clock showed at some moment between the question and the answer.
struct HostTime {
  int64_t host_ns = 0;
  int64_t asked_ns = 0;     // CLOCK_MONOTONIC
  int64_t answered_ns = 0;  // the same
};

enum class ClockMove {
  none,
  slew,  // faster or slower for a while
  step,
};

struct ClockChange {
  ClockMove move = ClockMove::none;
  int64_t by_ns = 0;
};

// With `guest_ns` on the guest's wall clock when the answer came. What is too little to be told
// from the time that the answer took is left alone.
[[nodiscard]] ClockChange judge_clock(const HostTime& time, int64_t guest_ns);

// The host's answer on a new stream.
[[nodiscard]] Outcome<HostTime> read_host_time(int stream, int64_t asked_ns);

// How long to wait before asking again, after a stream that lasted so long and was `told` to end,
// or was refused or broke; with the pause before that one. Never long after a stream that was of
// use, never at once for a host that cannot, or a guest's program that takes all there is of
// streams.
[[nodiscard]] int64_t pause_before_asking_ms(int64_t last_pause_ms, bool told, int64_t lasted_ms);

// For ever, on a thread of its own. `connect`: one attempt to get a stream to the host's clock.
[[noreturn]] void follow_host_clock(base::Fd (*connect)());

}  // namespace microvm::agent
