// virtio-vsock (virtio 1.2 §5.10): byte streams between guest ports and sockets of the host. The
// host's side of every connection is one end of a socket pair, so whoever gets it reads and writes
// an ordinary fd. No connection survives a restore: the guest is told by a transport reset.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/virtio/device.hpp"
#include "vmm/virtio/vsock/vsock_packet.hpp"
#include "vmm/virtio/vsock/vsock_state.hpp"
#include "vmm/virtio/vsock/vsock_stream.hpp"

namespace microvm::vmm {

struct VsockLimits {
  size_t connections = 1024;
  uint32_t window_bytes = 128 * 1024;  // what the device buffers for one slow host reader, at most
  // RSTs for unknown connections that wait for receive buffers; a guest that gives none loses more.
  size_t pending_resets = 256;
  // For a guest's kernel to answer. Who asks has limits of its own; this one only ends what nobody
  // waits for any more, and a guest that is busy on a busy host has taken more than five seconds.
  std::chrono::milliseconds connect{60'000};
  std::chrono::milliseconds close{8000};  // for the guest to acknowledge the end of a connection
  // What the guest asks for before it has handled a transport reset waits so long at most, for a
  // driver that does not show it.
  std::chrono::milliseconds early_wait{1000};
  size_t early_requests = 64;  // more are refused
};

class VsockDevice final : public Device {
 public:
  static constexpr DeviceKind kKind{DeviceType::vsock, "vsock", 3, 1};
  static constexpr uint64_t kGuestCid = 3;
  static constexpr uint64_t kFeatureStream = 1;  // virtio 1.2 §5.10.3
  enum QueueIndex : uint16_t { kRxQueue = 0, kTxQueue = 1, kEventQueue = 2 };

  // `loop` outlives the device; the device is destroyed on the loop's thread.
  explicit VsockDevice(sys::Loop& loop, VsockLimits limits = {});
  ~VsockDevice() override;

  // These are for the loop's thread, without the transport's mutex; the callbacks run there too,
  // never before the call returns, and may call the device; after its destruction nobody is called.
  // Host → guest. The fd is a blocking SOCK_STREAM end. Errors: connection_refused (nobody listens,
  // or no driver), deadline_exceeded, busy (too many connections), vm_gone (the guest reset).
  using ConnectDone = std::function<void(Result<base::Fd>)>;
  void connect(uint32_t guest_port, ConnectDone done);
  // Guest → host: takes connections to `host_port` from now on. Before the guest runs.
  using Accept = std::function<void(base::Fd)>;
  void listen(uint32_t host_port, Accept accept);
  // Ends all connections and tells the guest by a transport reset event. A restored device does so
  // by itself.
  void reset_connections();
  [[nodiscard]] size_t connections() const;

  [[nodiscard]] const DeviceKind& kind() const override { return kKind; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  [[nodiscard]] uint64_t features() const override { return kFeatureStream; }
  [[nodiscard]] std::span<const std::byte> config() const override;
  void activate(DeviceHost& host) override;
  void process(uint16_t queue) override;
  void reset() override;
  [[nodiscard]] wire::Bytes save() const override;
  [[nodiscard]] Result<void> restore(wire::ByteView body) override;

 private:
  using ConnectionId = uint64_t;
  enum class State : uint8_t {
    connecting,  // our REQUEST is on its way
    open,
    draining,  // over for the guest; the host's reader has not taken everything yet
  };
  // Packets a connection owes the guest, in the order they go out.
  enum Owed : uint8_t {
    kOweRequest = 1,
    kOweResponse = 2,
    kOweCreditUpdate = 4,
    kOweCreditRequest = 8,
    kOweShutdown = 16,
  };
  struct Connection {
    Connection(ConnectionId id_, uint32_t host_port_, uint32_t guest_port_, State state_,
               uint32_t window)
        : id(id_), host_port(host_port_), guest_port(guest_port_), state(state_), stream(window) {}
    const ConnectionId id;
    const uint32_t host_port;
    const uint32_t guest_port;
    State state;
    uint8_t owed = 0;
    bool queued = false;        // in ready_
    bool readable = false;      // the socket may have bytes for the guest, or its end
    bool host_ended = false;    // the host's writer has closed; all it wrote is with the guest
    bool asked_credit = false;  // since the guest last gave some
    uint32_t guest_shutdown = 0;
    uint32_t our_shutdown = 0;
    VsockStream stream;
    sys::Loop::WatchId watch = 0;
    sys::Loop::TimerId timer = 0;
    ConnectDone done;
  };
  using Connections = std::unordered_map<ConnectionId, std::unique_ptr<Connection>>;
  enum class Turn { again, idle, no_buffers };

  // vsock.cpp: what the machine asks for
  [[nodiscard]] std::unique_lock<std::mutex> lock_if_active() const;
  void post_done(ConnectDone done, Result<base::Fd> result);
  void post(void (VsockDevice::*call)());
  void bury_retired();
  void pump_posted();

  // vsock_connections.cpp: life of a connection
  Connection& add_connection(uint32_t host_port, uint32_t guest_port, State state);
  [[nodiscard]] Connection* find(uint32_t host_port, uint32_t guest_port);
  [[nodiscard]] Connection* find(ConnectionId id);
  [[nodiscard]] uint32_t take_host_port(uint32_t guest_port);
  [[nodiscard]] base::Fd open_stream(Connection& connection);
  void start_timer(Connection& connection, std::chrono::milliseconds limit);
  void stop_timer(Connection& connection);
  void timed_out(ConnectionId id);
  void socket_ready(ConnectionId id, uint32_t events);
  void update_watch(Connection& connection);
  void shut_down(Connection& connection, uint32_t flags);
  void abort(Connection& connection);
  void end(Connection& connection);
  void drain_or_erase(Connection& connection);

  // vsock_from_guest.cpp
  void take_packets();
  void handle(const VsockHeader& header, const Chain& chain);
  void handle_known(Connection& connection, const VsockHeader& header, const Chain& chain);
  void handle_request(const VsockHeader& header);
  void defer(const VsockHeader& header);
  void forget_early(const VsockHeader& header);
  void wait_for_reset();
  void look_again();
  void early_waited();
  void take_early();
  void handle_response(Connection& connection);
  void handle_shutdown(Connection& connection, uint32_t flags);
  void handle_data(Connection& connection, const VsockHeader& header, const Chain& chain);
  void refuse(const VsockHeader& header);

  // vsock_to_guest.cpp
  void owe(Connection& connection, uint8_t packets);
  void enqueue(Connection& connection);
  void report_credit(Connection& connection);
  void pump();
  [[nodiscard]] bool pump_one();
  [[nodiscard]] Turn serve(Connection& connection);
  [[nodiscard]] Turn send_owed(Connection& connection);
  [[nodiscard]] Turn send_data(Connection& connection);
  void nothing_to_read(Connection& connection);
  [[nodiscard]] size_t take_buffers(uint32_t bytes, uint32_t& room);
  void deliver(Connection& connection, size_t chains, uint32_t bytes);
  [[nodiscard]] bool pop_receive_buffer(Chain& chain, uint32_t min_bytes);
  [[nodiscard]] static VsockHeader header_for(const Connection& connection, VsockOp op);
  [[nodiscard]] bool send_header(const VsockHeader& header);
  void send_event();
  void look_for_reset();

  sys::Loop& loop_;
  const VsockLimits limits_;
  const std::array<std::byte, 8> config_;
  std::atomic<DeviceHost*> host_{nullptr};  // stays once set; all below is under its lock
  bool active_ = false;
  // Of a transport reset: the guest is to be told; it was told and has not handled it yet.
  enum class Reset : uint8_t { none, owed, sent };
  Reset reset_ = Reset::none;
  uint16_t events_before_reset_ = 0;  // what the driver had offered for events when it was sent
  std::deque<VsockHeader> early_;     // requests that wait for the reset to be handled
  bool waits_for_reset_ = false;      // those, or a connection of ours
  std::chrono::steady_clock::time_point early_until_;  // for the first of them
  sys::Loop::TimerId early_timer_ = 0;
  bool pump_pending_ = false;
  std::unordered_map<uint32_t, Accept> listeners_;
  Connections connections_;
  std::unordered_map<uint64_t, ConnectionId> index_;  // both ports → connection, not the draining
  Connections retired_;  // by a reset on a vCPU thread; the loop's thread buries them
  ConnectionId next_id_ = 1;
  uint32_t next_host_port_ = kFirstHostPort;
  std::deque<ConnectionId> ready_;  // owe packets, or have data
  std::deque<VsockHeader> stray_;   // RSTs that belong to no connection
  Chain chain_;                     // reused, as are the next two
  std::array<Chain, 16> rx_chains_;
  std::vector<iovec> pieces_;
  std::shared_ptr<VsockDevice*> self_;  // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
