#include "host/session/identity.hpp"

#include <algorithm>
#include <span>

#include "host/base/random.hpp"
#include "host/session/agent_messages.hpp"

namespace microvm::host {
namespace {

// RFC 9562 §5.4: version 4, variant 10.
std::string uuid(std::span<std::byte, 16> bytes) {
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text = hex(bytes);
  for (const size_t dash : {8u, 13u, 18u, 23u}) text.insert(dash, 1, '-');
  return text;
}

using Kind = GuestNetwork::Kind;

microvm_agent_Identity_Network kind_on_wire(Kind kind) {
  switch (kind) {
    case Kind::none:
      return microvm_agent_Identity_Network_NONE;
    case Kind::user:
      return microvm_agent_Identity_Network_USER;
    case Kind::tap:
      return microvm_agent_Identity_Network_TAP;
    case Kind::as_it_is:
      break;
  }
  return microvm_agent_Identity_Network_AS_IT_IS;
}

// nanopb's bounded bytes.
template <class Bytes>
bool set_address(Bytes& field, const IpAddressBytes& address) {
  if (address.size() != 4 && address.size() != 16) return false;
  field.size = static_cast<pb_size_t>(address.size());
  std::ranges::copy(address, field.bytes);
  return true;
}

template <class Field, size_t N>
bool set_addresses(Field (&fields)[N], pb_size_t& count, const std::vector<IpAddressBytes>& list) {
  if (list.size() > N) return false;
  for (const IpAddressBytes& address : list)
    if (!set_address(fields[count++], address)) return false;
  return true;
}

bool set_own_addresses(microvm_agent_Identity& message, const GuestNetwork& network) {
  if (network.addresses.size() > std::size(message.addresses)) return false;
  for (const auto& [bytes, prefix_bits] : network.addresses) {
    auto& field = message.addresses[message.addresses_count++];
    if (prefix_bits > 8 * bytes.size() || !set_address(field.address, bytes)) return false;
    field.prefix_bits = prefix_bits;
  }
  return true;
}

}  // namespace

Result<void> set_network(microvm_agent_Identity& message, const GuestNetwork& network) {
  message.network = kind_on_wire(network.kind);
  if (network.mac) {
    message.mac.size = static_cast<pb_size_t>(network.mac->size());
    std::ranges::copy(*network.mac, message.mac.bytes);
  }
  if (!set_own_addresses(message, network) ||
      !set_addresses(message.gateways, message.gateways_count, network.gateways) ||
      !set_addresses(message.dns, message.dns_count, network.dns)) {
    return base::fail(ErrorCode::invalid_argument,
                      "network: give at most 8 addresses, 2 gateways and 8 resolvers, each IPv4 or "
                      "IPv6");
  }
  return set_text(message.search, network.search, "search domains");
}

Result<Identity> make_identity(const std::string& hostname) {
  std::array<std::byte, 16 + 16 + 64> random{};
  if (auto filled = fill_random(random); !filled) return base::fail(filled.error());
  const std::span all(random);
  Identity identity;
  identity.hostname = hostname;
  identity.machine_id = hex(all.subspan<0, 16>());
  identity.boot_id = uuid(all.subspan<16, 16>());
  std::copy_n(all.subspan<32>().begin(), identity.seed.size(), identity.seed.begin());
  return identity;
}

}  // namespace microvm::host
