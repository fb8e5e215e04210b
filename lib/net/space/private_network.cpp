#include "net/space/private_network.hpp"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "net/space/netlink.hpp"
#include "net/space/sysctl.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::net::space {
namespace {

constexpr unsigned kLoopback = 1;  // in every new namespace
constexpr const char* kTapName = "guest";

struct Setting {
  const char* name;
  const char* value;
};

// Some of them a new namespace takes over from the host's.
constexpr auto kSettings = std::to_array<Setting>({
    {"net/ipv4/ip_forward", "0"},
    {"net/ipv4/conf/all/rp_filter", "0"},
    {"net/ipv4/conf/default/rp_filter", "0"},
    {"net/ipv4/conf/all/arp_ignore", "0"},
    {"net/ipv4/conf/default/arp_ignore", "0"},
    {"net/ipv4/conf/all/arp_filter", "0"},
    {"net/ipv4/conf/default/arp_filter", "0"},
    {"net/ipv4/conf/all/accept_redirects", "0"},
    {"net/ipv4/conf/default/accept_redirects", "0"},
    {"net/ipv4/conf/all/send_redirects", "0"},
    {"net/ipv4/conf/default/send_redirects", "0"},
    {"net/ipv4/conf/all/log_martians", "0"},
    {"net/ipv4/conf/default/log_martians", "0"},
    {"net/ipv4/icmp_echo_ignore_all", "1"},  // else every ping is answered, whoever is meant
    {"net/ipv4/ip_unprivileged_port_start", "0"},
    {"net/ipv6/icmp/echo_ignore_all", "1"},
    {"net/ipv6/ip_nonlocal_bind", "1"},  // a local route is not enough for bind()
    {"net/ipv6/conf/all/forwarding", "0"},
    {"net/ipv6/conf/all/disable_ipv6", "0"},  // a host without IPv6 hands that on to lo
    {"net/ipv6/conf/default/disable_ipv6", "0"},
    {"net/ipv6/conf/default/accept_dad", "0"},
    {"net/ipv6/conf/default/accept_ra", "0"},
    {"net/ipv6/conf/default/router_solicitations", "0"},
});

Result<void> apply_settings() {
  for (const Setting& setting : kSettings) {
    if (auto ok = set_sysctl(setting.name, setting.value); !ok) return ok;
  }
  return {};
}

template <class Address>
NetPrefix prefix(const Address& address, unsigned bits) {
  return {{address.begin(), address.end()}, static_cast<uint8_t>(bits)};
}

// To the guest by the tap, and only what is not the guest's is ours: the rule that comes first in a
// new namespace, of the table local, would send our own answers to the loopback.
void add_routes(NetlinkBatch& batch, uint8_t family, const NetPrefix& guest) {
  batch.add_rule(family, 10, guest, RT_TABLE_MAIN);
  batch.add_rule(family, 11, {}, RT_TABLE_LOCAL);
  batch.delete_rule(family, 0, RT_TABLE_LOCAL);
  batch.add_local_route(family, kLoopback);
}

void add_ipv4(NetlinkBatch& batch, unsigned tap) {
  batch.add_address(tap, prefix(wire::kGatewayIpv4, wire::kIpv4PrefixBits));
  batch.add_neighbour(tap, wire::kGuestIpv4, wire::kGuestMac);
  add_routes(batch, AF_INET, prefix(wire::kGuestIpv4, 32));
}

// Neighbours are asked for addresses of the link only, so the resolver's is one.
void add_ipv6(NetlinkBatch& batch, unsigned tap) {
  batch.add_address(tap, prefix(wire::kGatewayIpv6, wire::kIpv6PrefixBits));
  batch.add_address(tap, prefix(wire::kResolverIpv6, wire::kIpv6PrefixBits));
  batch.add_neighbour(tap, wire::kGuestIpv6, wire::kGuestMac);
  add_routes(batch, AF_INET6, prefix(wire::kGuestIpv6, 128));
}

Result<base::Fd> open_frame_socket(unsigned tap) {
  base::Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_ll place{};
  place.sll_family = AF_PACKET;
  place.sll_ifindex = static_cast<int>(tap);
  const auto* raw = reinterpret_cast<const sockaddr*>(&place);
  if (!fd || ::bind(fd.get(), raw, sizeof place) != 0) return base::fail_errno("open the link");
  return fd;
}

}  // namespace

Result<PrivateNetwork> set_up_private_network() {
  PrivateNetwork network;
  network.has_ipv6 = ::access("/proc/sys/net/ipv6", F_OK) == 0;
  if (auto ok = apply_settings(); !ok) return base::fail(ok.error());
  auto tap = make_tap(kTapName);
  if (!tap) return base::fail(tap.error());
  network.tap = std::move(*tap);
  NetlinkBatch batch;
  batch.link_up(kLoopback);
  batch.link_up(network.tap.interface, wire::kNetMtu, wire::kGatewayMac);
  add_ipv4(batch, network.tap.interface);
  if (network.has_ipv6) add_ipv6(batch, network.tap.interface);
  if (auto ok = batch.run(); !ok) return base::fail(ok.error());
  auto frames = open_frame_socket(network.tap.interface);
  if (!frames) return base::fail(frames.error());
  network.to_guest = std::move(*frames);
  return network;
}

}  // namespace microvm::net::space
