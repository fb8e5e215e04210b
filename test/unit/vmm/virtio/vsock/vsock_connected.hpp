// A guest with one open connection, and the host's end of it.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "vmm/virtio/vsock/vsock_guest.hpp"

namespace microvm::test {

inline std::string read_some(const base::Fd& fd) {
  std::string data(64 * 1024, 0);
  const ssize_t got = ::recv(fd.get(), data.data(), data.size(), MSG_DONTWAIT);
  data.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return data;
}
inline bool at_end(const base::Fd& fd) {
  char byte = 0;
  return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}
inline size_t write_some(const base::Fd& fd, std::string_view data) {
  const ssize_t put = ::send(fd.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return put > 0 ? static_cast<size_t>(put) : 0;
}

// A guest that has opened one connection to a host port.
template <class Bus>
struct ConnectedVsockGuestOn : VsockGuestOn<Bus> {
  static constexpr uint32_t kHostPort = 1024;
  static constexpr uint32_t kGuestPort = 5000;

  explicit ConnectedVsockGuestOn(vmm::VsockLimits limits = {}, uint32_t guest_room = 64 * 1024,
                                 sys::Loop::Backend backend = sys::Loop::Backend::automatic)
      : VsockGuestOn<Bus>(limits, VsockGuestOn<Bus>::kSize, backend) {
    this->device().listen(kHostPort, [this](base::Fd fd) { host = std::move(fd); });
    auto request = this->header(vmm::VsockOp::request, kGuestPort, kHostPort);
    request.buf_alloc = guest_room;
    this->send(request);
    const auto answer = this->wait_packet();
    REQUIRE(answer);
    CHECK(answer->op == vmm::VsockOp::response);
    CHECK(answer->src_port == kHostPort);
    CHECK(answer->dst_port == kGuestPort);
    this->settle();
    REQUIRE(host);
  }
  void send_op(vmm::VsockOp op, std::string_view data = {}) {
    this->send(op, kGuestPort, kHostPort, data);
  }
  void send_shutdown(uint32_t flags) {
    auto shutdown = this->header(vmm::VsockOp::shutdown, kGuestPort, kHostPort);
    shutdown.flags = flags;
    this->send(shutdown);
  }
  base::Fd host;
};
using ConnectedVsockGuest = ConnectedVsockGuestOn<OnMmio>;

}  // namespace microvm::test
