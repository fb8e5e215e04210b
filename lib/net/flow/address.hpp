// Endpoints of the wire as the socket calls have them.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <string>

#include "wire/net.hpp"

namespace microvm::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;

  [[nodiscard]] sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

[[nodiscard]] SocketAddress socket_address(const wire::NetEndpoint& endpoint);
// Of another family: all zeros.
[[nodiscard]] wire::NetEndpoint endpoint_of(const SocketAddress& address);

// One flow as the guest sees it. Its own address is one of two, by the remote's family.
struct FlowKey {
  uint16_t guest_port = 0;
  wire::NetEndpoint remote;
  friend bool operator==(const FlowKey&, const FlowKey&) = default;
};

struct EndpointHash {
  size_t operator()(const wire::NetEndpoint& endpoint) const;
  size_t operator()(const FlowKey& key) const { return (*this)(key.remote) * 31 + key.guest_port; }
};

}  // namespace microvm::net
