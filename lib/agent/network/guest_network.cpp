#include "agent/network/guest_network.hpp"

#include <algorithm>
#include <string_view>

#include "agent/base/kernel_log.hpp"

namespace microvm::agent {
namespace {

void report(const Outcome<void>& outcome) {
  if (!outcome) log_error("network: " + outcome.error().message);
}

template <class Bytes>
Outcome<IpAddress> read_address(const Bytes& field) {
  if (field.size != 4 && field.size != 16)
    return fail("an address of the identity is none", EPROTO);
  IpAddress address;
  address.size = static_cast<uint8_t>(field.size);
  std::copy_n(field.bytes, field.size, address.bytes.begin());
  return address;
}

template <class Field>
Outcome<std::vector<IpAddress>> read_addresses(const Field* fields, size_t count) {
  std::vector<IpAddress> addresses;
  for (size_t i = 0; i < count; i++) {
    const auto address = read_address(fields[i]);
    if (!address) return fail(address.error());
    addresses.push_back(*address);
  }
  return addresses;
}

Outcome<std::vector<InterfaceAddress>> read_own_addresses(const microvm_agent_Identity& identity) {
  std::vector<InterfaceAddress> addresses;
  for (size_t i = 0; i < identity.addresses_count; i++) {
    const auto& field = identity.addresses[i];
    const auto address = read_address(field.address);
    if (!address) return fail(address.error());
    const auto bits =
        static_cast<uint8_t>(std::min<uint32_t>(field.prefix_bits, address->size * 8u));
    addresses.push_back({*address, bits});
  }
  return addresses;
}

// Empty: the file stays as it is.
Outcome<std::string> resolver_text_of(const microvm_agent_Identity& identity) {
  auto servers = read_addresses(identity.dns, identity.dns_count);
  if (!servers) return fail(servers.error());
  const bool is_user = identity.network == microvm_agent_Identity_Network_USER;
  if (is_user && servers->empty()) servers->push_back(IpAddress(wire::kResolverIpv4));
  if (servers->empty()) return std::string();
  return resolver_text(*servers, identity.search);
}

}  // namespace

Outcome<InterfaceSettings> tap_settings(const microvm_agent_Identity& identity) {
  InterfaceSettings settings;
  settings.announce = true;
  if (identity.mac.size == settings.mac.emplace().size())
    std::copy_n(identity.mac.bytes, identity.mac.size, settings.mac->begin());
  else
    settings.mac.reset();
  auto addresses = read_own_addresses(identity);
  if (!addresses) return fail(addresses.error());
  auto gateways = read_addresses(identity.gateways, identity.gateways_count);
  if (!gateways) return fail(gateways.error());
  settings.addresses = std::move(*addresses);
  settings.gateways = std::move(*gateways);
  return settings;
}

// Named before anything else is done, for the files in /proc have the name.
Outcome<void> GuestNetwork::find_interface(Netlink& netlink) {
  const auto found = netlink.find_ethernet();
  if (!found) return found.error().error == ENODEV ? Outcome<void>() : fail(found.error());
  if (found->name.data() != std::string_view(kInterfaceName))
    if (auto named = rename_interface(netlink, found->index, kInterfaceName); !named) return named;
  index_ = found->index;
  return {};
}

void GuestNetwork::come_up(int root, const char* staging) {
  auto netlink = Netlink::open();
  if (!netlink) return report(fail(netlink.error()));
  if (auto found = find_interface(*netlink); !found) return report(found);
  if (index_ == 0) return;
  report(change(user_network_settings(), true));
  if (auto mounted = resolver_.mount(root, staging); !mounted) return report(mounted);
  report(resolver_.write(resolver_text({IpAddress(wire::kResolverIpv4)}, {})));
}

// From one state to another by way of none, so that nothing of the old one is left.
Outcome<void> GuestNetwork::change(const InterfaceSettings& settings, bool up) {
  if (up == up_ && (!up || (is_whole_ && settings == settings_))) return {};
  auto netlink = Netlink::open();
  if (!netlink) return fail(netlink.error());
  if (auto down = take_interface_down(*netlink, index_, settings_); !down) return down;
  up_ = up;
  if (!up) return {};
  settings_ = settings;  // what is taken down next time, whatever comes of it
  auto configured = configure_interface(*netlink, index_, settings);
  is_whole_ = static_cast<bool>(configured);
  return configured;
}

void GuestNetwork::apply(const microvm_agent_Identity& identity) {
  if (index_ == 0) return;
  switch (identity.network) {
    case microvm_agent_Identity_Network_NONE:
      return report(change(settings_, false));
    case microvm_agent_Identity_Network_USER:
      report(change(user_network_settings(), true));
      break;
    case microvm_agent_Identity_Network_TAP: {
      const auto settings = tap_settings(identity);
      report(settings ? change(*settings, true) : fail(settings.error()));
      break;
    }
    default:
      return;
  }
  const auto text = resolver_text_of(identity);
  if (!text) return report(fail(text.error()));
  if (!text->empty()) report(resolver_.write(*text));
}

}  // namespace microvm::agent
