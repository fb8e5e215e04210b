#include "net/resolve/exchanges.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "net/flow/address.hpp"

namespace microvm::net {
namespace {

// An interface by its number: names would need a call that the jail has not.
unsigned scope_number(const std::string& scope) {
  unsigned number = 0;
  std::from_chars(scope.data(), scope.data() + scope.size(), number);
  return number;
}

SocketAddress address_of(const Nameserver& server) {
  SocketAddress address = socket_address({server.address, server.port});
  if (address.storage.ss_family == AF_INET6 && !server.scope.empty()) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof in);
    in.sin6_scope_id = scope_number(server.scope);
    std::memcpy(&address.storage, &in, sizeof in);
  }
  return address;
}

bool send_whole(int socket, wire::ByteView message) {
  return ::send(socket, message.data(), message.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(message.size());
}

}  // namespace

Exchanges::~Exchanges() {
  for (const auto& [id, running] : running_) loop_.unwatch(running.watch);
}

bool Exchanges::start(const Resolver::Exchange& exchange) {
  const SocketAddress address = address_of(exchange.server);
  const int type = exchange.over_tcp ? SOCK_STREAM : SOCK_DGRAM;
  Running running;
  running.over_tcp = exchange.over_tcp;
  running.socket =
      base::Fd(::socket(address.storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!running.socket) return false;
  const int socket = running.socket.get();
  if (::connect(socket, address.raw(), address.size) != 0 && errno != EINPROGRESS) return false;
  if (exchange.over_tcp) running.to_send = with_length(exchange.message);
  if (!exchange.over_tcp && !send_whole(socket, exchange.message)) return false;
  running.watch = loop_.watch(socket, exchange.over_tcp ? POLLOUT : POLLIN,
                              [this, id = exchange.id](uint32_t) { on_ready(id); });
  running_.emplace(exchange.id, std::move(running));
  return true;
}

void Exchanges::end(Resolver::ExchangeId id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  loop_.unwatch(found->second.watch);
  running_.erase(found);
}

void Exchanges::on_ready(Resolver::ExchangeId id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  Running& running = found->second;
  if (!running.over_tcp) return receive_datagram(id, running);
  if (running.to_send.empty()) return receive_stream(id, running);
  // Fits into any empty socket; a failed connection fails here.
  if (!send_whole(running.socket.get(), running.to_send)) return callbacks_.failed(id);
  running.to_send.clear();
  loop_.rearm(running.watch, POLLIN);
}

void Exchanges::receive_datagram(Resolver::ExchangeId id, Running& running) {
  wire::Bytes message(kMaxDnsMessage);
  const ssize_t got = ::recv(running.socket.get(), message.data(), message.size(), 0);
  if (got < 0 && errno != EAGAIN && errno != EINTR) return callbacks_.failed(id);
  if (got < 0) return;
  message.resize(static_cast<size_t>(got));
  callbacks_.answered(id, message);
}

void Exchanges::receive_stream(Resolver::ExchangeId id, Running& running) {
  wire::Bytes bytes(size_t{16} * 1024);
  const ssize_t got = ::recv(running.socket.get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return callbacks_.failed(id);
  bytes.resize(static_cast<size_t>(got));
  if (!running.stream.feed(bytes)) return callbacks_.failed(id);
  // The first message is the answer, or there is none.
  if (const auto message = running.stream.take()) callbacks_.answered(id, *message);
}

}  // namespace microvm::net
