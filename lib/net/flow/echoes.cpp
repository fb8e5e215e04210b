#include "net/flow/echoes.hpp"

#include <netinet/in.h>
#include <poll.h>

#include <array>
#include <cerrno>

namespace microvm::net {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kEchoSweep{10};
constexpr int kRepliesPerTurn = 16;

// Not permitted, or no route there: an invalid Fd, with errno set.
base::Fd open_ping(const wire::NetEndpoint& remote) {
  const bool v4 = is_ipv4(remote);
  const int protocol = v4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  base::Fd socket(
      ::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  const SocketAddress address = socket_address(remote);
  if (socket && ::connect(socket.get(), address.raw(), address.size) != 0) socket.reset();
  return socket;
}

}  // namespace

Echoes::~Echoes() {
  for (const FlowKey& key : echoes_.keys()) forget(key);
  if (timer_ != 0) loop_.cancel(timer_);
}

void Echoes::request(const Packet& packet) {
  const FlowKey key{packet.guest.port, packet.remote};
  Echo* echo = echoes_.find(key);
  if (echo == nullptr) echo = open(packet);
  if (echo == nullptr || pace_.allowed() == 0) return;
  const FrameView message = packet.payload;
  // The kernel sets the identifier, which is the socket's, and the checksum.
  if (::send(echo->socket.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) {
    if (errno == EHOSTUNREACH || errno == ENETUNREACH) {
      link_.answer(unreachable(packet, Unreachable::host));
    }
    return;
  }
  pace_.spend(message.size());
  echo->bytes.from_guest += message.size();
  admission_.count({message.size(), 0});
  echoes_.touch(key, false, Clock::now());
}

Echoes::Echo* Echoes::open(const Packet& packet) {
  const FlowKey key{packet.guest.port, packet.remote};
  auto admitted = admission_.admit(wire::FlowProtocol::icmp, packet.remote);
  if (!admitted) {
    link_.answer(unreachable(packet, Unreachable::prohibited));
    return nullptr;
  }
  Echo echo{std::move(*admitted), open_ping(packet.remote), 0, {}};
  if (!echo.socket) {
    admission_.failed(echo.admitted, errno);
    link_.answer(unreachable(packet, Unreachable::host));
    return nullptr;
  }
  echo.watch = loop_.watch(echo.socket.get(), POLLIN, [this, key](uint32_t) { answer(key); });
  admission_.opened(echo.admitted);
  sweep_later();
  return &echoes_.add(key, std::move(echo), Clock::now());
}

void Echoes::answer(const FlowKey& key) {
  Echo* echo = echoes_.find(key);
  if (echo == nullptr) return;
  std::array<uint8_t, wire::kMaxFrameBytes> message;
  for (int i = 0; i < kRepliesPerTurn; ++i) {
    const ssize_t got = ::recv(echo->socket.get(), message.data(), message.size(), 0);
    if (got < 0) return;
    const auto size = static_cast<size_t>(got);
    const auto guest = guest_endpoint(!is_ipv4(key.remote), key.guest_port);
    link_.answer(echo_reply(guest, key.remote, FrameView(message).first(size)));
    pace_.spend(size);
    echo->bytes.to_guest += size;
    admission_.count({0, size});
    echoes_.touch(key, false, Clock::now());
  }
}

void Echoes::forget(const FlowKey& key) {
  const auto echo = echoes_.take(key);
  if (!echo) return;
  loop_.unwatch(echo->watch);
  admission_.ended(echo->admitted, echo->bytes);
}

void Echoes::judge_again() {
  for (const FlowKey& key : echoes_.keys()) {
    if (!admission_.judge_again(echoes_.find(key)->admitted)) forget(key);
  }
}

void Echoes::sweep_later() {
  if (timer_ != 0) return;
  timer_ = loop_.after(kEchoSweep, [this] {
    timer_ = 0;
    for (const FlowKey& key : echoes_.expired(Clock::now())) forget(key);
    if (!echoes_.empty()) sweep_later();
  });
}

}  // namespace microvm::net
