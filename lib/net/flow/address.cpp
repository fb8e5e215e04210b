#include "net/flow/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "net/flow/packet.hpp"

namespace microvm::net {

SocketAddress socket_address(const wire::NetEndpoint& endpoint) {
  SocketAddress address;
  if (is_ipv4(endpoint)) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.address.data() + 12, 4);
    std::memcpy(&address.storage, &in, sizeof in);
    address.size = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(endpoint.port);
    std::memcpy(&in.sin6_addr, endpoint.address.data(), 16);
    std::memcpy(&address.storage, &in, sizeof in);
    address.size = sizeof in;
  }
  return address;
}

wire::NetEndpoint endpoint_of(const SocketAddress& address) {
  wire::NetEndpoint endpoint;
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    endpoint.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    std::memcpy(endpoint.address.data() + 12, &in.sin_addr, 4);
    endpoint.port = ntohs(in.sin_port);
  } else if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof in);
    std::memcpy(endpoint.address.data(), &in.sin6_addr, 16);
    endpoint.port = ntohs(in.sin6_port);
  }
  return endpoint;
}

// The guest chooses what is hashed, but no more of them than the table is bounded to.
size_t EndpointHash::operator()(const wire::NetEndpoint& endpoint) const {
  const std::string_view bytes(reinterpret_cast<const char*>(endpoint.address.data()),
                               endpoint.address.size());
  return std::hash<std::string_view>{}(bytes) * 31 + endpoint.port;
}

}  // namespace microvm::net
