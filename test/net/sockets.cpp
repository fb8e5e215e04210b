#include "net/sockets.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

namespace microvm::test {

bool becomes_readable(int fd, int milliseconds) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, milliseconds) == 1;
}

base::Fd accept_one(const base::Fd& listener) {
  REQUIRE(becomes_readable(listener.get()));
  base::Fd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(accepted);
  return accepted;
}

std::string receive_text(int socket) {
  std::string text(65536, 0);
  if (!becomes_readable(socket)) return {};
  const ssize_t got = ::recv(socket, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

void send_text(int socket, const std::string& text) {
  REQUIRE(::send(socket, text.data(), text.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(text.size()));
}

}  // namespace microvm::test
