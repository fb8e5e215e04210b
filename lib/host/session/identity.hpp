// Who a Vm is: what must differ between two clones of one snapshot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "wire/agent.pb.h"

namespace microvm::host {

// 4 or 16 bytes.
using IpAddressBytes = std::vector<uint8_t>;

// What the guest's eth0 is connected to, and, of a tap, what it is to be called there.
struct GuestNetwork {
  enum class Kind : uint8_t { as_it_is, none, user, tap };
  struct Address {
    IpAddressBytes bytes;
    uint8_t prefix_bits = 0;
  };
  Kind kind = Kind::as_it_is;
  std::optional<std::array<uint8_t, 6>> mac;
  std::vector<Address> addresses;        // none: the guest sees to them
  std::vector<IpAddressBytes> gateways;  // one of a family
  std::vector<IpAddressBytes> dns;
  std::string search;  // domains, a space between them
};

struct Identity {
  std::string hostname;
  std::string machine_id;  // 32 lower-case hex digits
  std::string boot_id;     // a random UUID
  std::array<std::byte, 64> seed{};
  GuestNetwork network;
};

// Fresh random machine id, boot id and seed.
Result<Identity> make_identity(const std::string& hostname);

// Error invalid_argument: more than the wire takes (8 addresses, 2 gateways, 8 resolvers, 256 bytes
// of search domains), or an address that is none.
Result<void> set_network(microvm_agent_Identity& message, const GuestNetwork& network);

}  // namespace microvm::host
