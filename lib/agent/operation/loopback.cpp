#include "agent/operation/loopback.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace microvm::agent {
namespace {

// A full backlog makes the kernel retry for minutes otherwise.
constexpr time_t kConnectTimeoutSeconds = 10;

base::Fd connect_to(const sockaddr* address, socklen_t size) {
  base::Fd stream(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval timeout{.tv_sec = kConnectTimeoutSeconds, .tv_usec = 0};
  if (!stream || setsockopt(stream.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0 ||
      connect(stream.get(), address, size) != 0)
    return base::Fd();
  const int on = 1;  // the bytes were already collected by whoever sent them to us
  setsockopt(stream.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return stream;
}

base::Fd connect_ipv4(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

base::Fd connect_ipv6(uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_addr = in6addr_loopback;
  return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

Outcome<base::Fd> connect_loopback(uint32_t port) {
  const std::string name = "port " + std::to_string(port);
  if (port == 0 || port > UINT16_MAX) return fail_errno(name, EINVAL);
  if (auto stream = connect_ipv4(static_cast<uint16_t>(port))) return stream;
  const int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
  if (error == ECONNREFUSED) {
    if (auto stream = connect_ipv6(static_cast<uint16_t>(port))) return stream;
  }
  return fail_errno(name, error);
}

}  // namespace microvm::agent
