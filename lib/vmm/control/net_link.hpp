// The worker's end of the net wire: starts microvm-net when the guest first wants a network, gives
// its tap to the device and the first packets of flows to it. When it goes away the guest's next
// frame starts another one, after a while.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/virtio/net.hpp"
#include "wire/control.hpp"
#include "wire/net.hpp"

namespace microvm::vmm::control {

// All on the loop's thread.
class NetLink {
 public:
  using Tell = std::function<void(wire::NetworkEvent)>;

  // Between the end of one and the start of the next: doubled while they do not last.
  static constexpr std::chrono::milliseconds kShortestPause{100};
  static constexpr std::chrono::milliseconds kLongestPause{10'000};
  // Until it is up.
  static constexpr std::chrono::milliseconds kStartLimit{5000};
  static constexpr std::chrono::milliseconds kLetGoLimit{200};

  // `starter`: see net_starter.hpp; none: nothing can be started, and the guest has no network.
  NetLink(sys::Loop& loop, base::Fd starter, Tell tell,
          std::chrono::milliseconds start_limit = kStartLimit);
  ~NetLink();

  // A device whose frames come here. It lives longer than the link is used.
  [[nodiscard]] std::unique_ptr<NetDevice> make_device();
  [[nodiscard]] uint64_t starts() const { return starts_; }
  // Nothing is started any more. Has the starter end first, with what it started: where process 1
  // waits for no orphans they would stay for ever.
  void let_go();

 private:
  using Clock = std::chrono::steady_clock;
  using Event = wire::NetworkEvent;

  [[nodiscard]] bool want_tap();
  [[nodiscard]] Result<void> start();
  [[nodiscard]] bool give(wire::ByteView frame);
  void on_readable();
  [[nodiscard]] bool take(const wire::NetMessage& message, std::vector<base::Fd>& fds);
  void on_up(base::Fd tap);
  void on_tap_lost();
  void end(Event::What what, const Error& error);
  void close();
  [[nodiscard]] Error why_it_ended() const;

  sys::Loop& loop_;
  base::Fd starter_;
  Tell tell_;
  const std::chrono::milliseconds start_limit_;
  NetDevice* device_ = nullptr;
  base::Fd wire_;
  sys::Loop::WatchId watch_ = 0;
  sys::Loop::TimerId limit_ = 0;
  bool up_ = false;
  Clock::time_point started_;
  Clock::time_point next_start_;
  std::chrono::milliseconds pause_ = kShortestPause;
  uint64_t starts_ = 0;
  std::shared_ptr<NetLink*> self_;  // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm::control
