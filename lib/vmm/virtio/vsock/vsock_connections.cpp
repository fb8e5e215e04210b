// The life of a connection: made, watched, shut down from either side, over.
#include <poll.h>

#include <string>

#include "sys/socket.hpp"
#include "vmm/virtio/vsock/vsock.hpp"

namespace microvm::vmm {
namespace {

// A watch for nothing of its own: a hang-up is always reported.
constexpr uint32_t kOnlyHangUp = POLLPRI;

uint64_t index_key(uint32_t host_port, uint32_t guest_port) {
  return uint64_t{host_port} << 32 | guest_port;
}

}  // namespace

VsockDevice::Connection& VsockDevice::add_connection(uint32_t host_port, uint32_t guest_port,
                                                     State state) {
  const ConnectionId id = next_id_++;
  auto connection =
      std::make_unique<Connection>(id, host_port, guest_port, state, limits_.window_bytes);
  index_[index_key(host_port, guest_port)] = id;
  return *connections_.emplace(id, std::move(connection)).first->second;
}

VsockDevice::Connection* VsockDevice::find(uint32_t host_port, uint32_t guest_port) {
  const auto found = index_.find(index_key(host_port, guest_port));
  return found == index_.end() ? nullptr : find(found->second);
}

VsockDevice::Connection* VsockDevice::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

// Ends: there are far fewer connections than ports.
uint32_t VsockDevice::take_host_port(uint32_t guest_port) {
  while (true) {
    const uint32_t port = next_host_port_;
    next_host_port_ = port == kLastHostPort ? kFirstHostPort : port + 1;
    if (find(port, guest_port) == nullptr) return port;
  }
}

// The device keeps one end of a socket pair and gives the other away; empty when there is no fd.
base::Fd VsockDevice::open_stream(Connection& connection) {
  auto pair = sys::stream_pair();
  if (!pair) return {};
  connection.stream.open(std::move(pair->first));
  connection.state = State::open;
  connection.watch =
      loop_.watch(connection.stream.fd(), POLLIN,
                  [this, id = connection.id](uint32_t events) { socket_ready(id, events); });
  return std::move(pair->second);
}

void VsockDevice::start_timer(Connection& connection, std::chrono::milliseconds limit) {
  stop_timer(connection);
  connection.timer = loop_.after(limit, [this, id = connection.id] { timed_out(id); });
}

void VsockDevice::stop_timer(Connection& connection) {
  if (connection.timer != 0) loop_.cancel(std::exchange(connection.timer, 0));
}

void VsockDevice::timed_out(ConnectionId id) {
  const auto guard = lock_if_active();
  Connection* connection = guard ? find(id) : nullptr;
  if (connection == nullptr) return;
  connection->timer = 0;
  if (connection->done) {
    post_done(std::exchange(connection->done, nullptr),
              base::fail(ErrorCode::deadline_exceeded, "guest port " +
                                                           std::to_string(connection->guest_port) +
                                                           ": the guest does not answer"));
  }
  abort(*connection);
  pump();
  host_.load()->publish(kRxQueue);
}

void VsockDevice::socket_ready(ConnectionId id, uint32_t events) {
  const auto guard = host_.load()->lock();
  Connection* connection = find(id);
  if (connection == nullptr) return;
  VsockStream& stream = connection->stream;
  if (stream.has_unsent()) stream.flush();
  if (connection->state == State::draining) return drain_or_erase(*connection);
  const bool hung_up = (events & (POLLHUP | POLLERR)) != 0;
  // What the host wrote before waits for the guest's credit; that nobody is left to read does not.
  const bool reader_gone = stream.reader_gone() || (connection->readable && hung_up);
  if (reader_gone) shut_down(*connection, kShutdownReceive);
  report_credit(*connection);
  const bool reads =
      !connection->host_ended && (connection->guest_shutdown & kShutdownReceive) == 0;
  if (reads && (hung_up || (events & POLLIN) != 0)) {
    connection->readable = true;
    enqueue(*connection);
  } else if (hung_up) {
    shut_down(*connection, kShutdownBoth);
  }
  update_watch(*connection);
  pump();
  host_.load()->publish_soon(kRxQueue);
}

// While the guest has no room or no buffers for what is there, the socket stays unread and its
// writer blocks. A hang-up does not go away again, so it is waited for until the guest is told and
// no longer: first that the host receives no more, after the last byte that it sends none either.
void VsockDevice::update_watch(Connection& connection) {
  if (connection.watch == 0) return;
  const bool reads = connection.state == State::open && !connection.host_ended &&
                     (connection.guest_shutdown & kShutdownReceive) == 0;
  uint32_t wanted = connection.stream.has_unsent() ? POLLOUT : 0;
  const uint32_t at_hang_up = reads ? kShutdownReceive : kShutdownBoth;
  if (reads && !connection.readable) {
    wanted |= POLLIN;
  } else if ((connection.our_shutdown & at_hang_up) != at_hang_up) {
    wanted |= kOnlyHangUp;
  }
  loop_.rearm(connection.watch, wanted);
}

// Once neither side sends any more the guest should end the connection: it gets a time limit.
void VsockDevice::shut_down(Connection& connection, uint32_t flags) {
  const uint32_t before = connection.our_shutdown;
  connection.our_shutdown |= flags;
  if (connection.our_shutdown == before) return;
  owe(connection, kOweShutdown);
  if (connection.our_shutdown == kShutdownBoth) start_timer(connection, limits_.close);
}

// The guest broke the protocol, or is too slow.
void VsockDevice::abort(Connection& connection) {
  if (stray_.size() < limits_.pending_resets) {
    stray_.push_back(header_for(connection, VsockOp::rst));
  }
  end(connection);
}

// Over for the guest, who may use the same ports again at once.
void VsockDevice::end(Connection& connection) {
  if (connection.state == State::draining) return;
  const auto found = index_.find(index_key(connection.host_port, connection.guest_port));
  if (found != index_.end() && found->second == connection.id) index_.erase(found);
  stop_timer(connection);
  if (connection.done) {
    post_done(std::exchange(connection.done, nullptr),
              base::fail(ErrorCode::connection_refused, "guest port " +
                                                            std::to_string(connection.guest_port) +
                                                            ": nothing listens there"));
  }
  connection.state = State::draining;
  connection.readable = false;
  connection.owed = 0;
  drain_or_erase(connection);
}

void VsockDevice::drain_or_erase(Connection& connection) {
  if (connection.stream.has_unsent()) return update_watch(connection);
  if (connection.watch != 0) loop_.unwatch(connection.watch);
  // Nobody takes it out of the line while the guest gives no receive buffers, and meanwhile a guest
  // can end any number of connections. Nothing that serve() calls comes here.
  if (connection.queued) std::erase(ready_, connection.id);
  connections_.erase(connection.id);
}

}  // namespace microvm::vmm
