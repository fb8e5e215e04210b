// What the `ip` program does, without it: requests of rtnetlink(7), many in one datagram.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace microvm::net::space {

// An address with its prefix; IPv4 has 4 bytes, IPv6 16. Empty: all addresses of the family.
struct NetPrefix {
  std::vector<uint8_t> address;
  uint8_t bits = 0;
};

// Requests, kept until run(). They are carried out in the order in which they were added.
class NetlinkBatch {
 public:
  void link_up(unsigned interface, uint32_t mtu = 0, std::span<const uint8_t> mac = {});
  void add_address(unsigned interface, const NetPrefix& address);
  void add_neighbour(unsigned interface, std::span<const uint8_t> address,
                     std::span<const uint8_t> mac);
  // Everything there, for this machine itself: `local PREFIX dev INTERFACE table local`.
  void add_local_route(uint8_t family, unsigned interface);
  // `default via GATEWAY dev INTERFACE`
  void add_default_route(unsigned interface, std::span<const uint8_t> gateway);
  // `ip rule add pref PREFERENCE [to PREFIX] lookup TABLE`
  void add_rule(uint8_t family, uint32_t preference, const NetPrefix& to, uint8_t table);
  void delete_rule(uint8_t family, uint32_t preference, uint8_t table);

  // In the network namespace of the calling thread. The error names the first request that failed.
  [[nodiscard]] Result<void> run();

 private:
  template <class Header>
  void begin(const char* what, uint16_t type, uint16_t flags, const Header& header);
  void attribute(uint16_t type, std::span<const uint8_t> value);
  void attribute(uint16_t type, uint32_t value);
  void rule(const char* what, uint16_t type, uint8_t family, uint32_t preference,
            const NetPrefix& to, uint8_t table);
  void put(const void* data, size_t size);
  [[nodiscard]] Result<void> read_answers(int socket_fd) const;

  std::vector<uint8_t> bytes_;
  std::vector<const char*> names_;  // of the requests, for errors
  size_t current_ = 0;              // where the last request begins
};

}  // namespace microvm::net::space
