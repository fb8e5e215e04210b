// Packets to the guest: connections take turns, and nothing is read from a socket before the guest
// has both credit and a buffer for it.
#include <algorithm>
#include <cstring>

#include "vmm/virtio/vsock/vsock.hpp"

namespace microvm::vmm {
namespace {

constexpr uint32_t kTurnBytes = 64 * 1024;
constexpr int kTurnsPerRound = 64;  // then the loop's other work has its turn

}  // namespace

void VsockDevice::owe(Connection& connection, uint8_t packets) {
  connection.owed |= packets;
  enqueue(connection);
}

void VsockDevice::enqueue(Connection& connection) {
  if (connection.queued) return;
  connection.queued = true;
  ready_.push_back(connection.id);
}

void VsockDevice::report_credit(Connection& connection) {
  if (connection.stream.should_report()) owe(connection, kOweCreditUpdate);
}

void VsockDevice::pump() {
  if (!active_) return;
  for (int turn = 0; turn < kTurnsPerRound; ++turn) {
    if (!pump_one()) return;
  }
  if (std::exchange(pump_pending_, true)) return;
  post(&VsockDevice::pump_posted);
}

void VsockDevice::pump_posted() {
  const auto guard = host_.load()->lock();
  pump_pending_ = false;
  pump();
  host_.load()->publish(kRxQueue);
}

// False: there is nothing to send, or nothing to put it into.
bool VsockDevice::pump_one() {
  if (!stray_.empty()) {
    if (!send_header(stray_.front())) return false;
    stray_.pop_front();
    return true;
  }
  if (ready_.empty()) return false;
  Connection* connection = find(ready_.front());
  const Turn turn = connection == nullptr ? Turn::idle : serve(*connection);
  if (turn == Turn::no_buffers) return false;
  ready_.pop_front();
  if (connection != nullptr) connection->queued = false;
  if (turn == Turn::again) enqueue(*connection);
  return true;
}

VsockDevice::Turn VsockDevice::serve(Connection& connection) {
  if (connection.state == State::draining) return Turn::idle;
  if (connection.owed != 0) return send_owed(connection);
  return connection.readable ? send_data(connection) : Turn::idle;
}

VsockDevice::Turn VsockDevice::send_owed(Connection& connection) {
  struct Row {
    Owed owed;
    VsockOp op;
  };
  static constexpr std::array kOrder = {
      Row{kOweRequest, VsockOp::request}, Row{kOweResponse, VsockOp::response},
      Row{kOweCreditUpdate, VsockOp::credit_update},
      Row{kOweCreditRequest, VsockOp::credit_request}, Row{kOweShutdown, VsockOp::shutdown}};
  for (const Row& row : kOrder) {
    if ((connection.owed & row.owed) == 0) continue;
    if (!send_header(header_for(connection, row.op))) return Turn::no_buffers;
    connection.stream.count_reported();
    connection.owed &= static_cast<uint8_t>(~(row.owed | kOweCreditUpdate));
    break;
  }
  return connection.owed != 0 || connection.readable ? Turn::again : Turn::idle;
}

VsockDevice::Turn VsockDevice::send_data(Connection& connection) {
  VsockStream& stream = connection.stream;
  const uint32_t available = stream.readable_bytes();
  if (available == 0) {
    nothing_to_read(connection);
    return connection.owed != 0 ? Turn::again : Turn::idle;
  }
  const uint32_t credit = stream.guest_credit();
  if (credit == 0) {  // a packet with new credit puts the connection back into the line
    if (std::exchange(connection.asked_credit, true)) return Turn::idle;
    connection.owed |= kOweCreditRequest;
    return Turn::again;
  }
  uint32_t room = 0;
  const size_t chains = take_buffers(std::min({available, credit, kTurnBytes}), room);
  if (chains == 0) return Turn::no_buffers;
  const ssize_t got = stream.read(pieces_);
  const uint32_t bytes = got > 0 ? static_cast<uint32_t>(got) : 0;
  deliver(connection, chains, bytes);
  if (bytes > 0 && bytes < available) return Turn::again;
  connection.readable = false;
  update_watch(connection);
  return Turn::idle;
}

void VsockDevice::nothing_to_read(Connection& connection) {
  connection.readable = false;
  if (connection.stream.at_end()) {
    connection.host_ended = true;
    const bool both =
        connection.stream.hung_up() || (connection.guest_shutdown & kShutdownSend) != 0;
    shut_down(connection, both ? kShutdownBoth : kShutdownSend);
  }
  update_watch(connection);
}

// Takes receive buffers for up to `bytes` of data into rx_chains_ and what they have room for into
// pieces_ and `room`.
size_t VsockDevice::take_buffers(uint32_t bytes, uint32_t& room) {
  pieces_.clear();
  size_t count = 0;
  while (count < rx_chains_.size() && room < bytes) {
    Chain& chain = rx_chains_[count];
    if (!pop_receive_buffer(chain, kVsockHeaderBytes + 1)) break;
    const uint32_t step = std::min(bytes - room, chain.writable_bytes - kVsockHeaderBytes);
    append_slice(chain.writable, kVsockHeaderBytes, step, pieces_);
    room += step;
    ++count;
  }
  return count;
}

// A buffer that got no data after all carries a credit update: it cannot go back unused.
void VsockDevice::deliver(Connection& connection, size_t chains, uint32_t bytes) {
  DeviceHost& host = *host_.load();
  for (size_t i = 0; i < chains; ++i) {
    const Chain& chain = rx_chains_[i];
    const uint32_t step = std::min(bytes, chain.writable_bytes - kVsockHeaderBytes);
    VsockHeader header = header_for(connection, step > 0 ? VsockOp::rw : VsockOp::credit_update);
    header.len = step;
    write_header(chain, header);
    host.push(kRxQueue, chain.head, kVsockHeaderBytes + step);
    bytes -= step;
    connection.stream.count_sent(step);
  }
  connection.stream.count_reported();
}

bool VsockDevice::pop_receive_buffer(Chain& chain, uint32_t min_bytes) {
  DeviceHost& host = *host_.load();
  if (!host.pop(kRxQueue, chain)) return false;
  if (chain.writable_bytes >= min_bytes) return true;
  host.push(kRxQueue, chain.head, 0);
  host.fail("a receive buffer is smaller than a packet");
  return false;
}

VsockHeader VsockDevice::header_for(const Connection& connection, VsockOp op) {
  VsockHeader header;
  header.src_cid = kHostCid;
  header.dst_cid = kGuestCid;
  header.src_port = connection.host_port;
  header.dst_port = connection.guest_port;
  header.type = kVsockTypeStream;
  header.op = static_cast<uint16_t>(op);
  header.flags = op == VsockOp::shutdown ? connection.our_shutdown : 0;
  header.buf_alloc = connection.stream.window();
  header.fwd_cnt = connection.stream.forwarded();
  return header;
}

bool VsockDevice::send_header(const VsockHeader& header) {
  if (!pop_receive_buffer(chain_, kVsockHeaderBytes)) return false;
  write_header(chain_, header);
  host_.load()->push(kRxQueue, chain_.head, kVsockHeaderBytes);
  return true;
}

// virtio 1.2 §5.10.6.7. The driver may have posted its event buffers before the snapshot.
void VsockDevice::send_event() {
  if (reset_ != Reset::owed) return;
  DeviceHost& host = *host_.load();
  const uint16_t offered = host.made_available(kEventQueue);
  if (!host.pop(kEventQueue, chain_)) return;
  const bool fits =
      !chain_.writable.empty() && chain_.writable.front().iov_len >= sizeof kEventTransportReset;
  if (fits) {
    std::memcpy(chain_.writable.front().iov_base, &kEventTransportReset,
                sizeof kEventTransportReset);
    events_before_reset_ = offered;
    reset_ = Reset::sent;
  }
  host.push(kEventQueue, chain_.head, fits ? sizeof kEventTransportReset : 0);
}

// Linux gives the buffer of an event back when it has handled it.
void VsockDevice::look_for_reset() {
  if (reset_ != Reset::sent) return;
  if (host_.load()->made_available(kEventQueue) != events_before_reset_) take_early();
}

}  // namespace microvm::vmm
