// rtnetlink: what `ip` would do, in a guest that need not have it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// One request, put together in place.
class NetlinkRequest {
 public:
  // `flags` besides NLM_F_REQUEST and NLM_F_ACK.
  NetlinkRequest(uint16_t type, uint16_t flags);

  // ifinfomsg, ifaddrmsg, rtmsg, ndmsg: comes before the attributes.
  template <class Body>
  NetlinkRequest& body(const Body& body) {
    append(std::as_bytes(std::span(&body, 1)));
    return *this;
  }
  NetlinkRequest& attribute(uint16_t type, std::span<const std::byte> value);
  template <class Number>
  NetlinkRequest& number(uint16_t type, Number value) {
    return attribute(type, std::as_bytes(std::span(&value, 1)));
  }
  // Attributes until the matching close() are its content.
  size_t open(uint16_t type);
  void close(size_t nest);

  // Empty: more was put in than fits.
  [[nodiscard]] std::span<const std::byte> bytes();

 private:
  void append(std::span<const std::byte> bytes);

  alignas(4) std::array<std::byte, 512> bytes_{};
  size_t size_ = 0;
  bool overflowed_ = false;
};

// An interface that is like one of Ethernet.
struct FoundInterface {
  int index = 0;
  std::array<char, 16> name{};  // ends with 0
};

class Netlink {
 public:
  [[nodiscard]] static Outcome<Netlink> open();

  // Returns when it is done. `what` stands in the error.
  [[nodiscard]] Outcome<void> request(NetlinkRequest& request, const char* what);
  // The Ethernet interface of the lowest number. Error ENODEV: there is none.
  [[nodiscard]] Outcome<FoundInterface> find_ethernet();

 private:
  explicit Netlink(base::Fd socket) : socket_(std::move(socket)) {}
  base::Fd socket_;
};

}  // namespace microvm::agent
