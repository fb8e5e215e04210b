// Packets from the guest. Every field is a hostile number; what breaks the protocol ends its own
// connection and nothing else.
#include "vmm/virtio/vsock/vsock.hpp"

namespace microvm::vmm {
namespace {

// With event indexes no kick says that Linux has given the event's buffer back, for it has others
// there.
constexpr std::chrono::milliseconds kEarlyLook{1};

}  // namespace

void VsockDevice::take_packets() {
  DeviceHost& host = *host_.load();
  while (host.pop(kTxQueue, chain_)) {
    VsockHeader header;
    const bool whole = read_header(chain_, header);
    if (whole) handle(header, chain_);
    host.push(kTxQueue, chain_.head, 0);
    if (!whole) host.fail("a packet is shorter than its header");
  }
}

void VsockDevice::handle(const VsockHeader& header, const Chain& chain) {
  if (header.src_cid != kGuestCid) return;  // whoever that is, it is not there to be answered
  if (header.type != kVsockTypeStream || header.dst_cid != kHostCid) return refuse(header);
  if (Connection* connection = find(header.dst_port, header.src_port)) {
    return handle_known(*connection, header, chain);
  }
  if (static_cast<VsockOp>(header.op) == VsockOp::request) return handle_request(header);
  forget_early(header);
  refuse(header);
}

void VsockDevice::handle_known(Connection& connection, const VsockHeader& header,
                               const Chain& chain) {
  connection.stream.set_guest_credit(header.buf_alloc, header.fwd_cnt);
  if (connection.stream.guest_credit() > 0) {
    connection.asked_credit = false;
    if (connection.readable) enqueue(connection);
  }
  switch (static_cast<VsockOp>(header.op)) {
    case VsockOp::response:
      return handle_response(connection);
    case VsockOp::rst:
      return end(connection);
    case VsockOp::shutdown:
      return handle_shutdown(connection, header.flags);
    case VsockOp::rw:
      return handle_data(connection, header, chain);
    case VsockOp::credit_update:
      return;
    case VsockOp::credit_request:
      return owe(connection, kOweCreditUpdate);
    default:
      return abort(connection);
  }
}

// Linux ends at a transport reset what is connected by then, but not what is being connected: an
// answer before it has handled the reset would be for nothing. A request that stood in the ring at
// the snapshot always comes here before the reset is sent, for Transport::resume() serves the
// queues in their order and the event queue is the last.
void VsockDevice::handle_request(const VsockHeader& header) {
  if (reset_ != Reset::none) return defer(header);
  const auto listener = listeners_.find(header.dst_port);
  if (listener == listeners_.end() || connections_.size() >= limits_.connections) {
    return refuse(header);
  }
  Connection& connection = add_connection(header.dst_port, header.src_port, State::connecting);
  connection.stream.set_guest_credit(header.buf_alloc, header.fwd_cnt);
  base::Fd peer = open_stream(connection);
  if (!peer) return abort(connection);
  owe(connection, kOweResponse);
  auto shared = std::make_shared<base::Fd>(std::move(peer));
  loop_.post([accept = listener->second, shared] { accept(std::move(*shared)); });
}

void VsockDevice::defer(const VsockHeader& header) {
  forget_early(header);
  if (early_.size() >= limits_.early_requests) return refuse(header);
  early_.push_back(header);
  wait_for_reset();
}

void VsockDevice::wait_for_reset() {
  if (std::exchange(waits_for_reset_, true)) return;
  early_until_ = std::chrono::steady_clock::now() + limits_.early_wait;
  look_again();
}

void VsockDevice::look_again() {
  if (early_timer_ == 0) early_timer_ = loop_.after(kEarlyLook, [this] { early_waited(); });
}

// A driver that does not show it is taken to have handled the reset; one that had no buffer for the
// event is not told at all.
void VsockDevice::early_waited() {
  early_timer_ = 0;
  const auto guard = lock_if_active();
  if (!guard || !waits_for_reset_) return;
  look_for_reset();
  if (!waits_for_reset_) return host_.load()->publish(kRxQueue);
  if (std::chrono::steady_clock::now() < early_until_) return look_again();
  if (reset_ == Reset::owed) {
    for (const VsockHeader& header : std::exchange(early_, {})) refuse(header);
  }
  take_early();
  host_.load()->publish(kRxQueue);
}

// The guest gave up, or asks again.
void VsockDevice::forget_early(const VsockHeader& header) {
  std::erase_if(early_, [&](const VsockHeader& early) {
    return early.src_port == header.src_port && early.dst_port == header.dst_port;
  });
}

void VsockDevice::take_early() {
  waits_for_reset_ = false;
  if (reset_ == Reset::sent) reset_ = Reset::none;
  for (auto& [id, connection] : connections_) {
    if (connection->state == State::connecting && connection->done) owe(*connection, kOweRequest);
  }
  for (const VsockHeader& header : std::exchange(early_, {})) {
    if (find(header.dst_port, header.src_port) == nullptr) handle_request(header);
  }
  pump();
}

void VsockDevice::handle_response(Connection& connection) {
  if (connection.state != State::connecting || !connection.done) return abort(connection);
  base::Fd peer = open_stream(connection);
  if (!peer) {
    post_done(std::exchange(connection.done, nullptr), base::fail_errno("create socket pair"));
    return abort(connection);
  }
  stop_timer(connection);
  post_done(std::exchange(connection.done, nullptr), std::move(peer));
}

void VsockDevice::handle_shutdown(Connection& connection, uint32_t flags) {
  if (connection.state != State::open) return abort(connection);
  connection.guest_shutdown |= flags & kShutdownBoth;
  if ((connection.guest_shutdown & kShutdownSend) != 0) connection.stream.end_of_guest_data();
  if ((connection.guest_shutdown & kShutdownReceive) != 0) {
    connection.stream.refuse_host_data();
    connection.readable = false;
  }
  if (connection.guest_shutdown == kShutdownBoth) return abort(connection);  // RST is the answer
  if (connection.host_ended && (connection.guest_shutdown & kShutdownSend) != 0) {
    shut_down(connection, kShutdownBoth);
  }
  update_watch(connection);
}

void VsockDevice::handle_data(Connection& connection, const VsockHeader& header,
                              const Chain& chain) {
  const bool allowed = connection.state == State::open &&
                       (connection.guest_shutdown & kShutdownSend) == 0 &&
                       header.len <= chain.readable_bytes - kVsockHeaderBytes;
  if (!allowed) return abort(connection);
  const bool had_unsent = connection.stream.has_unsent();
  pieces_.clear();
  append_slice(chain.readable, kVsockHeaderBytes, header.len, pieces_);
  if (!connection.stream.take(pieces_, header.len)) return abort(connection);
  if (connection.stream.reader_gone()) shut_down(connection, kShutdownReceive);
  report_credit(connection);
  if (had_unsent != connection.stream.has_unsent()) update_watch(connection);
}

void VsockDevice::refuse(const VsockHeader& header) {
  if (static_cast<VsockOp>(header.op) == VsockOp::rst) return;
  if (stray_.size() >= limits_.pending_resets) return;
  VsockHeader answer;
  answer.src_cid = header.dst_cid;
  answer.dst_cid = kGuestCid;
  answer.src_port = header.dst_port;
  answer.dst_port = header.src_port;
  answer.type = header.type;
  answer.op = static_cast<uint16_t>(VsockOp::rst);
  stray_.push_back(answer);
}

}  // namespace microvm::vmm
