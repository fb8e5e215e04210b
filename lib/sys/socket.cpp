#include "sys/socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace microvm::sys {
namespace {

int type_of(SocketKind kind) {
  return (kind == SocketKind::seqpacket ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC;
}

Result<SocketPair> pair_of(SocketKind kind) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type_of(kind), 0, ends.data()) != 0) {
    return base::fail_errno("create socket pair");
  }
  return SocketPair{base::Fd(ends[0]), base::Fd(ends[1])};
}

// The directory is reached through its fd, so only the name counts against the 108 bytes.
Result<sockaddr_un> address_of(int directory_fd, const std::string& name) {
  const std::string path = "/proc/self/fd/" + std::to_string(directory_fd) + "/" + name;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.find('/') != std::string::npos ||
      path.size() >= sizeof address.sun_path) {
    return base::fail(ErrorCode::invalid_argument, "socket name '" + name + "' cannot be used");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

base::Failure socket_failure(const std::string& what, const std::string& name) {
  if (errno == EADDRINUSE) {
    return base::fail(ErrorCode::already_exists, what + " " + name + ": the name is taken");
  }
  return base::fail_errno(what + " " + name);
}

}  // namespace

Result<SocketPair> seqpacket_pair() {
  return pair_of(SocketKind::seqpacket);
}

Result<SocketPair> stream_pair() {
  return pair_of(SocketKind::stream);
}

Result<base::Fd> listen_unix(int directory_fd, const std::string& name, SocketKind kind) {
  const auto address = address_of(directory_fd, name);
  if (!address) return base::fail(address.error());
  base::Fd fd(::socket(AF_UNIX, type_of(kind), 0));
  if (!fd) return base::fail_errno("create socket");
  const auto* raw = reinterpret_cast<const sockaddr*>(&*address);
  if (::bind(fd.get(), raw, sizeof *address) != 0) return socket_failure("bind", name);
  if (::listen(fd.get(), SOMAXCONN) != 0) return socket_failure("listen on", name);
  return fd;
}

namespace {

Result<base::Fd> connect_to(int directory_fd, const std::string& name, int type) {
  const auto address = address_of(directory_fd, name);
  if (!address) return base::fail(address.error());
  base::Fd fd(::socket(AF_UNIX, type, 0));
  if (!fd) return base::fail_errno("create socket");
  const auto* raw = reinterpret_cast<const sockaddr*>(&*address);
  while (::connect(fd.get(), raw, sizeof *address) != 0) {
    if (errno == EAGAIN)
      return base::fail(ErrorCode::busy, "connect to " + name + ": nobody accepts");
    if (errno != EINTR) return socket_failure("connect to", name);
  }
  return fd;
}

}  // namespace

Result<base::Fd> connect_unix(int directory_fd, const std::string& name, SocketKind kind) {
  return connect_to(directory_fd, name, type_of(kind));
}

Result<base::Fd> connect_unix_at_once(int directory_fd, const std::string& name, SocketKind kind) {
  return connect_to(directory_fd, name, type_of(kind) | SOCK_NONBLOCK);
}

Result<base::Fd> accept_unix(int listener_fd) {
  while (true) {
    base::Fd fd(::accept4(listener_fd, nullptr, nullptr, SOCK_CLOEXEC));
    if (fd || errno == EAGAIN) return fd;
    if (errno != EINTR && errno != ECONNABORTED) return base::fail_errno("accept");
  }
}

Result<void> set_nonblocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return base::fail_errno("read fd flags");
  const int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted != flags && ::fcntl(fd, F_SETFL, wanted) != 0) return base::fail_errno("set fd flags");
  return {};
}

}  // namespace microvm::sys
