// The bytes of one flow, between the guest's socket and the one outside, by splice(2): they do not
// come into this process. Each direction ends by itself.
#pragma once

#include <functional>

#include "net/flow/flow_log.hpp"
#include "net/flow/pace.hpp"
#include "net/flow/packet.hpp"
#include "net/flow/pipe_stock.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

// How far the guest's bytes may go out.
struct Passage {
  uint64_t bytes = 0;       // from the first on
  bool is_free = false;     // all of them, and nobody looks at them any more
  bool is_refused = false;  // no more than `bytes`, ever
};

class Relay {
 public:
  struct Callbacks {
    // For good, with an errno when something went wrong; the relay may be gone when it returns.
    std::function<void(int error)> ended;
    std::function<void(FlowBytes moved)> moved;
    // Given: nothing of the guest goes out but what this says of what it is given, which is all
    // that the guest sends, piece by piece.
    std::function<Passage(FrameView news)> passage;
  };
  // Both sockets are connected and non-blocking.
  Relay(sys::Loop& loop, PipeStock& pipes, Pace& pace, base::Fd guest, base::Fd outside,
        Callbacks callbacks);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Both sides see a reset.
  void reset();
  // The guest's connection is over in the kernel, though nobody was told yet.
  [[nodiscard]] bool guest_is_gone() const;
  [[nodiscard]] FlowBytes bytes() const { return {from_guest_.bytes, to_guest_.bytes}; }

 private:
  struct Side {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
  };
  struct Direction {
    Side& from;
    Side& to;
    Pipe pipe{};
    size_t in_pipe = 0;
    uint64_t bytes = 0;
    bool reported = false;  // as readable, and nothing was read since
    bool done = false;      // nothing comes any more, and the other side was told
    Pace::Waiter pace_waiter = 0;
  };

  void on_events(Side& side, uint32_t events);
  void step();
  [[nodiscard]] int pump(Direction& direction);
  [[nodiscard]] int fill(Direction& direction);
  static size_t take_urgent_byte(Direction& direction);
  [[nodiscard]] int drain(Direction& direction);
  void wait_for_pace(Direction& direction);
  [[nodiscard]] uint64_t may_pass();
  void look();
  void watch_again();
  void finish(int error);

  sys::Loop& loop_;
  PipeStock& pipes_;
  Pace& pace_;
  Callbacks callbacks_;
  Side guest_;
  Side outside_;
  Direction from_guest_{guest_, outside_};
  Direction to_guest_{outside_, guest_};
  Passage passage_;
  uint64_t looked_at_ = 0;  // of all the guest's bytes
  bool guest_has_news_ = false;
};

}  // namespace microvm::net
