#include "net/test_host.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "net/flow/address.hpp"
#include "net/flow/packet.hpp"
#include "net/space/netlink.hpp"
#include "net/space/sysctl.hpp"
#include "net/space/user_namespace.hpp"
#include "suite/skip.hpp"

namespace microvm::test {
namespace {

Result<void> make_world() {
  if (auto ok = net::space::enter_user_namespace(); !ok) return ok;
  if (auto ok = net::space::enter_network_namespace(); !ok) return ok;
  net::space::NetlinkBatch batch;
  batch.link_up(1);
  batch.add_local_route(AF_INET, 1);
  batch.add_local_route(AF_INET6, 1);
  if (auto ok = batch.run(); !ok) return ok;
  static_cast<void>(net::space::set_sysctl("net/ipv4/ping_group_range", own_group_range().c_str()));
  static_cast<void>(net::space::set_sysctl("net/ipv4/ip_unprivileged_port_start", "0"));
  return net::space::set_sysctl("net/ipv6/ip_nonlocal_bind", "1");
}

base::Fd bound(const wire::NetEndpoint& at, int type) {
  base::Fd socket(::socket(net::is_ipv4(at) ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto address = net::socket_address(at);
  REQUIRE(::bind(socket.get(), address.raw(), address.size) == 0);
  return socket;
}

}  // namespace

std::string own_group_range() {
  return std::to_string(::getegid()) + " " + std::to_string(::getegid());
}

void add_host_address(const std::string& address) {
  net::space::NetlinkBatch batch;
  const auto added = endpoint(address, 0).address;
  batch.add_address(1, {{added.begin() + 12, added.end()}, 32});
  REQUIRE(batch.run());
}

bool enter_test_host() {
  static const Result<void> kEntered = make_world();
  if (!kEntered) suite::skip_case(kEntered.error().message);
  return kEntered.has_value();
}

wire::NetEndpoint endpoint(const std::string& address, uint16_t port) {
  wire::NetEndpoint made;
  made.port = port;
  if (::inet_pton(AF_INET6, address.c_str(), made.address.data()) == 1) return made;
  made.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  REQUIRE(::inet_pton(AF_INET, address.c_str(), made.address.data() + 12) == 1);
  return made;
}

base::Fd listen_tcp(const wire::NetEndpoint& at) {
  base::Fd socket = bound(at, SOCK_STREAM);
  REQUIRE(::listen(socket.get(), 64) == 0);
  return socket;
}

base::Fd bind_udp(const wire::NetEndpoint& at) {
  return bound(at, SOCK_DGRAM);
}

wire::NetEndpoint local_endpoint(int socket) {
  net::SocketAddress address;
  REQUIRE(::getsockname(socket, address.raw(), &address.size) == 0);
  return net::endpoint_of(address);
}

}  // namespace microvm::test
