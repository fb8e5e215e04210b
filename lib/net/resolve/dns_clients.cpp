#include "net/resolve/dns_clients.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "net/flow/address.hpp"

namespace microvm::net {
namespace {

constexpr uint16_t kDnsPort = 53;
constexpr size_t kMostConnections = 32;
constexpr std::chrono::seconds kIdleConnection{10};
constexpr size_t kLongestQuery = 4096;
constexpr int kDnsBacklog = 16;

// Askers: those by UDP are told from others by their port and family, connections are counted.
constexpr Resolver::Asker kFirstConnection = Resolver::Asker{1} << 32;
constexpr Resolver::Asker kIpv6Asker = 1u << 16;

bool bind_to_resolver(int socket, bool is_ipv6) {
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const SocketAddress address = socket_address(resolver_endpoint(is_ipv6, kDnsPort));
  return ::bind(socket, address.raw(), address.size) == 0;
}

}  // namespace

DnsClients::~DnsClients() {
  for (const Listener& listener : listeners_) {
    if (listener.watch != 0) loop_.unwatch(listener.watch);
  }
  while (!connections_.empty()) close(connections_.begin()->first);
}

bool DnsClients::first_packet(const Packet& packet, FrameView frame) {
  if (packet.remote != resolver_endpoint(packet.is_ipv6, kDnsPort)) return false;
  if (packet.protocol == wire::FlowProtocol::udp) take_datagram(packet);
  if (packet.protocol == wire::FlowProtocol::tcp) take_syn(packet, frame);
  return packet.protocol != wire::FlowProtocol::icmp;
}

void DnsClients::take_datagram(const Packet& packet) {
  if (packet.is_fragment || packet.payload.size() > kLongestQuery) return;
  const Resolver::Asker asker = packet.guest.port | (packet.is_ipv6 ? kIpv6Asker : 0);
  callbacks_.asked(asker, std::as_bytes(packet.payload), false);
}

void DnsClients::take_syn(const Packet& packet, FrameView frame) {
  if (!open_listener(packet.is_ipv6)) return link_.answer(reset_of(packet));
  link_.let_in(frame);
}

bool DnsClients::open_udp(bool is_ipv6) {
  base::Fd& socket = udp_.at(is_ipv6 ? 1 : 0);
  if (socket) return true;
  auto made = space_.take(is_ipv6 ? space::SocketType::udp6 : space::SocketType::udp4);
  if (!made || !bind_to_resolver(made->get(), is_ipv6)) return false;
  // Only for sending: the packets that come in are read before they do.
  ::shutdown(made->get(), SHUT_RD);
  socket = std::move(*made);
  return true;
}

bool DnsClients::open_listener(bool is_ipv6) {
  Listener& listener = listeners_.at(is_ipv6 ? 1 : 0);
  if (listener.socket) return true;
  auto made = space_.take(is_ipv6 ? space::SocketType::tcp6 : space::SocketType::tcp4);
  if (!made || !bind_to_resolver(made->get(), is_ipv6)) return false;
  if (::listen(made->get(), kDnsBacklog) != 0) return false;
  listener.socket = std::move(*made);
  listener.watch = loop_.watch(listener.socket.get(), POLLIN,
                               [this, is_ipv6](uint32_t) { accept_all(is_ipv6); });
  return true;
}

void DnsClients::accept_all(bool is_ipv6) {
  for (int i = 0; i < kDnsBacklog; ++i) {
    base::Fd socket(::accept4(listeners_.at(is_ipv6 ? 1 : 0).socket.get(), nullptr, nullptr,
                              SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return;
    // The one that has said nothing for the longest time, or close to it.
    if (connections_.size() >= kMostConnections) close(connections_.begin()->first);
    const Resolver::Asker asker = next_connection_++;
    Connection connection{std::move(socket), 0, 0, DnsStream(kLongestQuery)};
    connection.watch =
        loop_.watch(connection.socket.get(), POLLIN, [this, asker](uint32_t) { receive(asker); });
    connection.timer = loop_.after(kIdleConnection, [this, asker] { close(asker); });
    connections_.emplace(asker, std::move(connection));
  }
}

void DnsClients::receive(Resolver::Asker asker) {
  Connection& connection = connections_.at(asker);
  std::array<std::byte, kLongestQuery> bytes;
  const ssize_t got = ::recv(connection.socket.get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const auto size = static_cast<size_t>(got);
  if (got <= 0 || !connection.stream.feed(std::span(bytes).first(size))) return close(asker);
  loop_.cancel(connection.timer);
  connection.timer = loop_.after(kIdleConnection, [this, asker] { close(asker); });
  // An answer may end the connection.
  while (connections_.contains(asker)) {
    const auto query = connections_.at(asker).stream.take();
    if (!query) return;
    callbacks_.asked(asker, *query, true);
  }
}

void DnsClients::close(Resolver::Asker asker) {
  const auto found = connections_.find(asker);
  if (found == connections_.end()) return;
  loop_.unwatch(found->second.watch);
  loop_.cancel(found->second.timer);
  connections_.erase(found);
  callbacks_.gone(asker);
}

void DnsClients::reply(Resolver::Asker asker, wire::ByteView message) {
  if (asker >= kFirstConnection) return reply_by_tcp(asker, message);
  const bool is_ipv6 = (asker & kIpv6Asker) != 0;
  if (!open_udp(is_ipv6)) return;
  const SocketAddress to = socket_address(guest_endpoint(is_ipv6, static_cast<uint16_t>(asker)));
  ::sendto(udp_.at(is_ipv6 ? 1 : 0).get(), message.data(), message.size(), MSG_NOSIGNAL, to.raw(),
           to.size);
}

// Who does not read its answers is left.
void DnsClients::reply_by_tcp(Resolver::Asker asker, wire::ByteView message) {
  const auto found = connections_.find(asker);
  if (found == connections_.end()) return;
  const wire::Bytes bytes = with_length(message);
  const ssize_t put = ::send(found->second.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (put != static_cast<ssize_t>(bytes.size())) close(asker);
}

}  // namespace microvm::net
