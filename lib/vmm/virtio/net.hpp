// virtio-net (virtio 1.2 §5.1) over a tap with a virtio header and offloads: one pair of queues and
// the control queue. Frames go between the tap and the guest's buffers without a copy, by readv and
// writev that do not block; so nothing is in flight when none of this runs, and a snapshot has
// nothing to wait for. One interrupt for what comes in one go.
//
// In microvm's own network (NetworkKind::user) the tap comes when the guest first sends something
// that wants one, and until then that waits in its queue. First packets of flows go to microvm-net
// and not to the tap, frames from another MAC or address than the guest's nowhere.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/virtio/device.hpp"
#include "vmm/virtio/net_frame.hpp"
#include "vmm/virtio/net_pairs.hpp"
#include "vmm/virtio/net_state.hpp"
#include "wire/control.hpp"

namespace microvm::vmm {

// virtio 1.2 §5.1.4
struct NetConfig {
  wire::MacAddress mac;
  uint16_t status;
  uint16_t max_pairs;
  uint16_t mtu;
};
static_assert(sizeof(NetConfig) == 12);

class NetDevice final : public Device {
 public:
  static constexpr DeviceKind kKind{DeviceType::net, "net", 3, 1};
  enum QueueIndex : uint16_t { kRxQueue = 0, kTxQueue = 1, kControlQueue = 2 };

  // On the loop's thread, with the transport's mutex held where it says so: then they must not call
  // the device.
  struct Callbacks {
    // User: the guest sends, and there is no tap. True: connect() or disconnect() will follow;
    // until then what is sent waits. False: it is dropped. Mutex held.
    std::function<bool()> want_tap;
    // A first packet with its virtio-net header. False: there is no room for it. Mutex held.
    std::function<bool(wire::ByteView)> first_packet;
    // The tap went away; the device is without one already.
    std::function<void(Error)> tap_lost;
  };

  // `loop` outlives the device; the device is destroyed on the loop's thread.
  NetDevice(sys::Loop& loop, wire::NetworkKind kind, Callbacks callbacks = {});
  ~NetDevice() override;

  // These are for the loop's thread, without the transport's mutex.
  void connect(base::Fd tap);
  // There is no tap, or none any more. What waits for one is dropped, and pairs are forgotten.
  void disconnect();
  void apply(const wire::UdpPair& pair);
  [[nodiscard]] wire::NetCounters counters() const;

  [[nodiscard]] const DeviceKind& kind() const override { return kKind; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  [[nodiscard]] uint64_t features() const override;
  [[nodiscard]] std::span<const std::byte> config() const override;
  void activate(DeviceHost& host) override;
  void process(uint16_t queue) override;
  void reset() override;
  [[nodiscard]] wire::Bytes save() const override;
  [[nodiscard]] Result<void> restore(wire::ByteView body) override;

 private:
  enum class Tap : uint8_t { none, asked, there };
  enum class Sent : uint8_t { done, waits };
  enum class Got : uint8_t { frame, nothing, no_buffers, lost };

  // net.cpp
  [[nodiscard]] std::unique_lock<std::mutex> lock() const;
  [[nodiscard]] DeviceHost& host() const { return *host_.load(); }
  void settle();
  void listen(bool on);
  void drop_tap();
  void on_lost(int error);
  void set_offloads();
  [[nodiscard]] bool link_up() const;
  void set_link(bool up);
  void answer_controls();

  // net_from_guest.cpp
  void send_frames();
  void post_send();
  void drop_waiting();
  [[nodiscard]] Sent send(Chain& chain);
  [[nodiscard]] uint64_t agreed_offloads() const;
  [[nodiscard]] Sent send_by_kind(const Frame& frame, const Chain& chain);
  [[nodiscard]] bool ask_for_tap();
  [[nodiscard]] Sent send_first(const Frame& frame, const Chain& chain);
  [[nodiscard]] Sent write_tap(const Frame& frame, const Chain& chain);
  [[nodiscard]] Sent dropped(uint64_t& counter);
  [[nodiscard]] Sent sent(const Frame& frame);

  // net_to_guest.cpp
  void tap_ready(uint32_t events);
  void receive();
  [[nodiscard]] Got receive_frame();
  [[nodiscard]] ssize_t read_tap();
  [[nodiscard]] bool is_wanted();
  [[nodiscard]] Got dropped_for_guest();
  [[nodiscard]] Got deliver(size_t bytes);
  [[nodiscard]] bool can_take_more() const;
  void hold(size_t in_buffers, size_t bytes);
  [[nodiscard]] Got deliver_held();
  [[nodiscard]] bool take_buffers(size_t bytes);
  [[nodiscard]] bool take_buffer();
  [[nodiscard]] std::span<iovec> room_of_taken();
  void put_frame(size_t at, wire::ByteView bytes);
  void push_frame(size_t bytes);
  void keep_buffers_from(size_t used);
  void put_back_buffers();

  sys::Loop& loop_;
  const wire::NetworkKind kind_;
  const Callbacks callbacks_;
  NetConfig config_{};
  std::atomic<DeviceHost*> host_{nullptr};  // set once; the rest is under its lock when it is there
  bool active_ = false;
  bool set_offloads_ = false;  // the tap's are not yet those of the driver
  bool told_link_up_ = false;  // what the guest knows

  base::Fd tap_fd_;
  Tap tap_ = Tap::none;
  sys::Loop::WatchId watch_ = 0;
  bool listening_ = false;
  NetPairs pairs_;
  wire::NetCounters counters_;

  // From the guest.
  Chain chain_;
  std::array<std::byte, kFrameHeadBytes> head_{};
  std::vector<iovec> pieces_;

  // To the guest: the buffers taken, and the frame's header.
  std::vector<Chain> taken_;
  size_t taken_count_ = 0;
  size_t taken_bytes_ = 0;  // of frame
  size_t taken_pieces_ = 0;
  size_t expected_buffers_ = 1;
  NetHeader header_;
  std::vector<iovec> read_list_;
  std::vector<std::byte> spill_;  // room when there is a tap
  size_t held_bytes_ = 0;         // of a frame in spill_ that waits for buffers

  std::shared_ptr<NetDevice*> self_;  // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
