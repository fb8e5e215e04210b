#include "net/control/worker_link.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "sys/socket.hpp"

namespace microvm::net {
namespace {

constexpr size_t kLongest = wire::kMaxFrameBytes + 64;
// Of one that reads nothing for so long: it has gone bad.
constexpr size_t kMostUnsent = size_t{4} * wire::kMaxOpenFlows;
constexpr int kMessagesPerTurn = 64;  // flows have their turn as well, however many SYNs there are

}  // namespace

WorkerLink::WorkerLink(sys::Loop& loop, base::Fd socket, Callbacks callbacks)
    : loop_(loop),
      socket_(std::move(socket)),
      callbacks_(std::move(callbacks)),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kLongest)) {
  static_cast<void>(sys::set_nonblocking(socket_.get()));
  watch_ = loop_.watch(socket_.get(), POLLIN, [this](uint32_t) {
    send_rest();
    receive();
  });
}

bool WorkerLink::send(const wire::NetMessage& message, std::span<const int> fds) {
  auto bytes = wire::encode_net(message);
  if (unsent_.empty()) {
    const auto sent = sys::send_message(socket_.get(), bytes, fds);
    if (sent) return true;
    if (sent.error().code != ErrorCode::busy) return false;
  }
  if (!fds.empty() || unsent_.size() >= kMostUnsent) {
    loop_.rearm(watch_, 0);
    callbacks_.gone();
    return false;
  }
  unsent_.push_back(std::move(bytes));
  loop_.rearm(watch_, POLLIN | POLLOUT);
  return true;
}

void WorkerLink::send_rest() {
  if (unsent_.empty()) return;
  while (!unsent_.empty()) {
    const auto sent = sys::send_message(socket_.get(), unsent_.front());
    if (!sent && sent.error().code == ErrorCode::busy) return;
    unsent_.pop_front();
  }
  loop_.rearm(watch_, POLLIN);
}

void WorkerLink::receive() {
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    const ssize_t got = ::recv(socket_.get(), buffer_.get(), kLongest, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      loop_.rearm(watch_, 0);
      return callbacks_.gone();
    }
    const auto size = static_cast<size_t>(got);
    if (size <= kLongest) understand({buffer_.get(), size});
  }
}

// Whatever else it is, it does not concern us.
void WorkerLink::understand(std::span<const std::byte> bytes) {
  const auto message = wire::decode_net(bytes);
  if (!message) return;
  const auto* packet = std::get_if<wire::FirstPacket>(&*message);
  if (packet == nullptr) return;
  const auto* first = reinterpret_cast<const uint8_t*>(packet->frame.data());
  callbacks_.first_packet({first, packet->frame.size()});
}

}  // namespace microvm::net
