#include "vmm/control/connection.hpp"

#include <poll.h>

#include "sys/socket.hpp"

namespace microvm::vmm::control {
namespace {

// A peer that does not read its replies is cut off.
constexpr size_t kMaxQueued = 256;

}  // namespace

Connection::Connection(sys::Loop& loop, base::Fd socket, Callbacks callbacks)
    : loop_(loop), socket_(std::move(socket)), callbacks_(std::move(callbacks)) {
  watch_ = loop_.watch(socket_.get(), POLLIN, [this](uint32_t events) { on_ready(events); });
}

Connection::~Connection() {
  if (!closed_) loop_.unwatch(watch_);
}

bool Connection::peer_is_gone() const {
  pollfd socket{socket_.get(), 0, 0};
  return closed_ || (::poll(&socket, 1, 0) == 1 && (socket.revents & (POLLHUP | POLLERR)) != 0);
}

bool Connection::has_unread() const {
  return !closed_ && (!queue_.empty() || sys::has_unread(socket_.get()));
}

void Connection::on_ready(uint32_t events) {
  if ((events & POLLOUT) != 0) send_queued();
  if (!closed_ && (events & ~static_cast<uint32_t>(POLLOUT)) != 0) receive();
}

void Connection::receive() {
  auto received = sys::receive_message(
      socket_.get(), {.bytes = wire::kMaxControlMessage, .fds = wire::kMaxControlFds});
  if (!received && received.error().code == ErrorCode::busy) return;
  if (!received) return close();
  const auto header = wire::read_header(received->bytes);
  if (!header) return close();
  auto envelope = wire::decode(received->bytes);
  if (!envelope) return refuse(*header, envelope.error());
  if (received->out_of_fds) {
    return put({header->request_id,
                wire::ErrorReply{static_cast<uint32_t>(ErrorCode::io),
                                 "the worker has too many open files: raise RLIMIT_NOFILE"},
                header->version});
  }
  understand(std::move(*envelope), std::move(received->fds));
}

void Connection::understand(wire::Envelope envelope, std::vector<base::Fd> fds) {
  if (wire::is_greeting(envelope)) {
    const wire::VersionsReply versions{wire::kOldestControlVersion, wire::kControlVersion};
    return put({envelope.request_id, versions, wire::kVersionsReplyVersion});
  }
  version_ = envelope.version;
  callbacks_.message(std::move(envelope), std::move(fds));
}

// Its sender may be of another version, and is told so.
void Connection::refuse(const wire::Header& header, const Error& error) {
  const bool known =
      header.version >= wire::kOldestControlVersion && header.version <= wire::kControlVersion;
  put({header.request_id,
       wire::ErrorReply{static_cast<uint32_t>(error.code),
                        "the worker was asked in " + error.message},
       known ? header.version : wire::kControlVersion});
}

void Connection::send(wire::Envelope envelope, std::vector<base::Fd> fds) {
  envelope.version = version_;
  put(std::move(envelope), std::move(fds));
}

void Connection::put(wire::Envelope envelope, std::vector<base::Fd> fds) {
  if (closed_) return;
  auto bytes = wire::encode(envelope);
  if (!bytes) {
    if (envelope.request_id == 0) return;
    bytes = wire::encode(
        {envelope.request_id,
         wire::ErrorReply{static_cast<uint32_t>(bytes.error().code), bytes.error().message},
         envelope.version});
    fds.clear();
  }
  if (!bytes) return close();
  Outgoing outgoing{std::move(*bytes), std::move(fds)};
  if (queue_.empty() && send_now(outgoing)) return;
  if (closed_) return;
  if (queue_.size() >= kMaxQueued) return close();
  queue_.push_back(std::move(outgoing));
  loop_.rearm(watch_, POLLIN | POLLOUT);
}

bool Connection::send_now(const Outgoing& outgoing) {
  std::vector<int> fds;
  fds.reserve(outgoing.fds.size());
  for (const base::Fd& fd : outgoing.fds) fds.push_back(fd.get());
  const auto sent = sys::send_message(socket_.get(), outgoing.bytes, fds);
  if (!sent && sent.error().code != ErrorCode::busy) close();
  return sent.has_value();
}

void Connection::send_queued() {
  while (!queue_.empty()) {
    if (!send_now(queue_.front())) return;
    queue_.pop_front();
  }
  loop_.rearm(watch_, POLLIN);
}

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  queue_.clear();
  loop_.unwatch(watch_);
  callbacks_.closed();
}

}  // namespace microvm::vmm::control
