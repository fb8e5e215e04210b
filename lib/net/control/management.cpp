#include "net/control/management.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "sys/file.hpp"
#include "sys/socket.hpp"

namespace microvm::net {
namespace {

constexpr size_t kMostClients = 32;
constexpr std::ptrdiff_t kMostFollowers = 8;
constexpr sys::MessageLimits kRequestLimits{4096, 1};

// As the worker has it for its control socket. In our user namespace root has the number of all who
// are not in it; others of them had no permission for the socket.
bool is_one_of_us(int socket) {
  constexpr uid_t kNotInNamespace = 65'534;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0 || peer.uid == kNotInNamespace;
}

wire::NetError error_message(const Error& error) {
  return {static_cast<uint32_t>(error.code), error.message};
}

}  // namespace

Management::~Management() {
  if (watch_ != 0) loop_.unwatch(watch_);
  for (const Client& client : clients_) loop_.unwatch(client.watch);
}

Result<void> Management::listen(int home) {
  ::unlinkat(home, wire::kNetSocket, 0);
  auto listener = sys::listen_unix(home, wire::kNetSocket, sys::SocketKind::seqpacket);
  if (!listener) return base::fail(listener.error());
  listener_ = std::move(*listener);
  if (auto ok = sys::set_nonblocking(listener_.get()); !ok) return ok;
  watch_ = loop_.watch(listener_.get(), POLLIN, [this](uint32_t) { accept_all(); });
  return {};
}

void Management::accept_all() {
  while (true) {
    auto socket = sys::accept_unix(listener_.get());
    if (!socket || !*socket) return;
    if (clients_.size() >= kMostClients || !is_one_of_us(socket->get()) ||
        !sys::set_nonblocking(socket->get())) {
      continue;
    }
    const auto client = clients_.insert(clients_.end(), Client{std::move(*socket)});
    client->watch =
        loop_.watch(client->socket.get(), POLLIN, [this, client](uint32_t) { receive(client); });
  }
}

void Management::receive(Clients::iterator client) {
  auto received = sys::receive_message(client->socket.get(), kRequestLimits);
  if (!received && received.error().code == ErrorCode::busy) return;
  if (!received) return drop(client);
  const auto request = wire::decode_net(received->bytes);
  const wire::NetMessage reply = request ? answer(*client, *request, received->fds)
                                         : wire::NetMessage(error_message(request.error()));
  // Who reads no answers gets none.
  if (!sys::send_message(client->socket.get(), wire::encode_net(reply))) return drop(client);
  tell_whether_followed();
}

wire::NetMessage Management::answer(Client& client, const wire::NetMessage& request,
                                    const std::vector<base::Fd>& fds) {
  if (std::holds_alternative<wire::SetupChanged>(request)) return change_setup(fds);
  if (std::holds_alternative<wire::NetStatusRequest>(request)) return callbacks_.status();
  if (std::holds_alternative<wire::FlowLogRequest>(request)) {
    if (!client.follows && std::ranges::count_if(clients_, &Client::follows) >= kMostFollowers) {
      return error_message({ErrorCode::busy, "8 follow its flows already"});
    }
    client.follows = true;
    return wire::NetOk{};
  }
  return error_message({ErrorCode::unsupported, "microvm-net does not know this request"});
}

wire::NetMessage Management::change_setup(const std::vector<base::Fd>& fds) {
  if (fds.size() != 1) {
    return error_message({ErrorCode::protocol, "a changed setup comes with its file"});
  }
  const auto bytes = sys::read_all(fds[0].get(), wire::kMaxNetworkSetupBytes);
  if (!bytes) return error_message(bytes.error());
  auto setup = wire::decode_network_setup(*bytes);
  if (!setup) return error_message(setup.error());
  const auto done = callbacks_.setup_changed(std::move(*setup));
  if (!done) return error_message(done.error());
  return wire::NetOk{};
}

void Management::tell(wire::FlowRecord record) {
  for (Client& client : clients_) {
    if (!client.follows) continue;
    record.lost = client.lost;
    const bool sent = sys::send_message(client.socket.get(), wire::encode_net(record)).has_value();
    client.lost = sent ? 0 : client.lost + 1;
  }
}

void Management::drop(Clients::iterator client) {
  loop_.unwatch(client->watch);
  clients_.erase(client);
  tell_whether_followed();
}

void Management::tell_whether_followed() {
  const bool followed = std::ranges::any_of(clients_, &Client::follows);
  if (std::exchange(is_followed_, followed) != followed) callbacks_.log_followed(followed);
}

}  // namespace microvm::net
