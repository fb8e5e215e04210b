#include "net/flow/udp_pairs.hpp"

#include <poll.h>

#include <cerrno>

namespace microvm::net {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kUdpSweep{5};
constexpr std::chrono::seconds kIdleEnoughToGo{5};
constexpr size_t kLongestDatagram = 65'536;
constexpr int kDatagramsPerTurn = 32;

base::Fd open_udp_outside(const wire::NetEndpoint& remote) {
  base::Fd socket(
      ::socket(is_ipv4(remote) ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const SocketAddress address = socket_address(remote);
  if (socket && ::connect(socket.get(), address.raw(), address.size) != 0) socket.reset();
  return socket;
}

}  // namespace

UdpPairs::UdpPairs(sys::Loop& loop, space::SpaceThread& space, GuestLink& link,
                   Admission& admission, Pace& pace, Tell tell)
    : loop_(loop),
      space_(space),
      link_(link),
      admission_(admission),
      pace_(pace),
      tell_(std::move(tell)),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kLongestDatagram)) {}

UdpPairs::~UdpPairs() {
  for (const FlowKey& key : pairs_.keys()) forget(key);
  if (timer_ != 0) loop_.cancel(timer_);
}

void UdpPairs::first_packet(const Packet& packet, FrameView frame) {
  const FlowKey key{packet.guest.port, packet.remote};
  // It was sent before the worker knew.
  if (pairs_.find(key) != nullptr) return link_.let_in(frame);
  make_room();
  auto admitted = admission_.admit(wire::FlowProtocol::udp, packet.remote);
  if (!admitted) return link_.answer(unreachable(packet, Unreachable::prohibited));
  open(packet, frame, std::move(*admitted));
}

void UdpPairs::make_room() {
  if (admission_.has_room()) return;
  if (const auto oldest = pairs_.oldest(Clock::now(), kIdleEnoughToGo)) forget(*oldest);
}

void UdpPairs::open(const Packet& packet, FrameView frame, Admitted admitted) {
  const FlowKey key{packet.guest.port, packet.remote};
  Pair pair{std::move(admitted), {}, {open_udp_outside(packet.remote)}, {}};
  if (!pair.outside.socket) return refuse(packet, pair.admitted, errno);
  auto inside = open_inside(packet);
  if (!inside) return refuse(packet, pair.admitted, EMFILE);
  pair.inside.socket = std::move(*inside);
  pair.inside.watch =
      loop_.watch(pair.inside.socket.get(), POLLIN, [this, key](uint32_t) { from_guest(key); });
  pair.outside.watch =
      loop_.watch(pair.outside.socket.get(), POLLIN, [this, key](uint32_t) { to_guest(key); });
  const Pair& kept = pairs_.add(key, std::move(pair), Clock::now());
  admission_.opened(kept.admitted);
  sweep_later();
  tell_({true, packet.guest, packet.remote});
  link_.let_in(frame);
}

void UdpPairs::refuse(const Packet& packet, const Admitted& admitted, int error) {
  const bool is_limit = error == EMFILE || error == ENFILE;
  if (is_limit) {
    admission_.refused_by_limit(admitted, kNoMoreFiles);
  } else {
    admission_.failed(admitted, error);
  }
  link_.answer(unreachable(packet, Unreachable::host));
}

// Several are bound to one destination: which one a packet is for is told by who sent it.
Result<base::Fd> UdpPairs::open_inside(const Packet& packet) {
  auto socket = space_.take(packet.is_ipv6 ? space::SocketType::udp6 : space::SocketType::udp4);
  if (!socket) return socket;
  const int on = 1;
  ::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const SocketAddress here = socket_address(packet.remote);
  const SocketAddress guest = socket_address(packet.guest);
  if (::bind(socket->get(), here.raw(), here.size) != 0 ||
      ::connect(socket->get(), guest.raw(), guest.size) != 0) {
    return base::fail_errno("make a pair");
  }
  return socket;
}

// What has no room outside, or none in the limit of bytes, is lost: so it is with datagrams.
void UdpPairs::from_guest(const FlowKey& key) {
  Pair* pair = pairs_.find(key);
  if (pair == nullptr) return;
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    const ssize_t got = ::recv(pair->inside.socket.get(), buffer_.get(), kLongestDatagram, 0);
    if (got < 0) break;
    const auto size = static_cast<size_t>(got);
    if (pace_.allowed() == 0) continue;
    if (::send(pair->outside.socket.get(), buffer_.get(), size, MSG_NOSIGNAL) < 0) continue;
    pace_.spend(size);
    pair->bytes.from_guest += size;
    admission_.count({size, 0});
  }
  pairs_.touch(key, false, Clock::now());
}

void UdpPairs::to_guest(const FlowKey& key) {
  Pair* pair = pairs_.find(key);
  if (pair == nullptr) return;
  bool answered = false;
  for (int i = 0; i < kDatagramsPerTurn; ++i) {
    const ssize_t got = ::recv(pair->outside.socket.get(), buffer_.get(), kLongestDatagram, 0);
    if (got < 0 && errno == ECONNREFUSED) {
      const auto guest = guest_endpoint(!is_ipv4(key.remote), key.guest_port);
      link_.answer(udp_port_unreachable(guest, key.remote));
    }
    if (got < 0) break;
    answered = true;
    const auto size = static_cast<size_t>(got);
    if (pace_.allowed() == 0) continue;
    if (::send(pair->inside.socket.get(), buffer_.get(), size, MSG_NOSIGNAL) < 0) continue;
    pace_.spend(size);
    pair->bytes.to_guest += size;
    admission_.count({0, size});
  }
  pairs_.touch(key, answered, Clock::now());
}

void UdpPairs::forget(const FlowKey& key) {
  const auto pair = pairs_.take(key);
  if (!pair) return;
  loop_.unwatch(pair->inside.watch);
  loop_.unwatch(pair->outside.watch);
  tell_({false, guest_endpoint(!is_ipv4(key.remote), key.guest_port), key.remote});
  admission_.ended(pair->admitted, pair->bytes);
}

void UdpPairs::judge_again() {
  for (const FlowKey& key : pairs_.keys()) {
    if (!admission_.judge_again(pairs_.find(key)->admitted)) forget(key);
  }
}

void UdpPairs::sweep_later() {
  if (timer_ != 0) return;
  timer_ = loop_.after(kUdpSweep, [this] {
    timer_ = 0;
    sweep();
  });
}

void UdpPairs::sweep() {
  for (const FlowKey& key : pairs_.expired(Clock::now())) forget(key);
  if (!pairs_.empty()) sweep_later();
}

}  // namespace microvm::net
