#include "net/flow/listeners.hpp"

#include <poll.h>

#include <cerrno>
#include <chrono>

#include "net/flow/packet.hpp"

namespace microvm::net {
namespace {

constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kRest{100};

bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

void reset_connection(base::Fd socket) {
  const linger now{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

Listeners::~Listeners() {
  for (auto& [remote, listener] : listeners_) {
    loop_.unwatch(listener.watch);
    if (listener.rest) loop_.cancel(*listener.rest);
  }
}

Result<base::Fd> Listeners::listen(const wire::NetEndpoint& remote) {
  auto socket = space_.take(is_ipv4(remote) ? space::SocketType::tcp4 : space::SocketType::tcp6);
  if (!socket) return socket;
  const int on = 1;
  ::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const SocketAddress address = socket_address(remote);
  if (::bind(socket->get(), address.raw(), address.size) != 0 ||
      ::listen(socket->get(), kBacklog) != 0) {
    return base::fail_errno("listen for the guest");
  }
  return socket;
}

Result<void> Listeners::add(const wire::NetEndpoint& remote) {
  if (const auto found = listeners_.find(remote); found != listeners_.end()) {
    ++found->second.waiting;
    return {};
  }
  auto socket = listen(remote);
  if (!socket) return base::fail(socket.error());
  Listener listener{std::move(*socket), 0, 1, {}};
  listener.watch =
      loop_.watch(listener.socket.get(), POLLIN, [this, remote](uint32_t) { accept_all(remote); });
  listeners_.emplace(remote, std::move(listener));
  return {};
}

void Listeners::remove(const wire::NetEndpoint& remote) {
  const auto found = listeners_.find(remote);
  if (found == listeners_.end() || --found->second.waiting != 0) return;
  loop_.unwatch(found->second.watch);
  if (found->second.rest) loop_.cancel(*found->second.rest);
  listeners_.erase(found);
}

// It stays readable: without descriptors it would be tried again and again.
void Listeners::rest(const wire::NetEndpoint& remote, Listener& listener) {
  if (listener.rest) return;
  loop_.rearm(listener.watch, 0);
  listener.rest = loop_.after(kRest, [this, remote] {
    const auto found = listeners_.find(remote);
    if (found == listeners_.end()) return;
    found->second.rest.reset();
    loop_.rearm(found->second.watch, POLLIN);
  });
}

// Whoever takes the last one that was waited for has the listener removed.
void Listeners::accept_all(const wire::NetEndpoint& remote) {
  for (int i = 0; i < kBacklog; ++i) {
    const auto found = listeners_.find(remote);
    if (found == listeners_.end()) return;
    SocketAddress peer;
    base::Fd socket(::accept4(found->second.socket.get(), peer.raw(), &peer.size,
                              SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket && is_shortage(errno)) return rest(remote, found->second);
    if (!socket) return;
    if (!accepted_(remote, endpoint_of(peer), socket)) reset_connection(std::move(socket));
  }
}

}  // namespace microvm::net
