#include "agent/network/interface.hpp"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr uint16_t kReplace = NLM_F_CREATE | NLM_F_REPLACE;

uint8_t family_of(const IpAddress& address) {
  return address.is_ipv6() ? AF_INET6 : AF_INET;
}

std::span<const std::byte> bytes_of(const IpAddress& address) {
  return std::as_bytes(std::span(address.bytes).first(address.size));
}

// Collects the first error of several steps.
class Steps {
 public:
  Steps(Netlink& netlink, int index) : netlink_(netlink), index_(index) {}

  void request(NetlinkRequest& request, const char* what) { keep(netlink_.request(request, what)); }
  void keep(Outcome<void> outcome) {
    if (first_ && !outcome) first_ = std::move(outcome);
  }
  [[nodiscard]] int index() const { return index_; }
  [[nodiscard]] Outcome<void> outcome() { return std::move(first_); }

 private:
  Netlink& netlink_;
  int index_;
  Outcome<void> first_;
};

ifinfomsg link_message(int index, unsigned flags, unsigned changed) {
  ifinfomsg link{};
  link.ifi_index = index;
  link.ifi_flags = flags;
  link.ifi_change = changed;
  return link;
}

void set_up(Steps& steps, bool up) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  request.body(link_message(steps.index(), up ? unsigned{IFF_UP} : 0u, IFF_UP));
  steps.request(request, up ? "eth0 up" : "eth0 down");
}

void set_link(Steps& steps, const InterfaceSettings& settings) {
  if (!settings.mac && settings.mtu == 0) return;
  NetlinkRequest request(RTM_NEWLINK, 0);
  request.body(link_message(steps.index(), 0, 0));
  if (settings.mac) request.attribute(IFLA_ADDRESS, std::as_bytes(std::span(*settings.mac)));
  if (settings.mtu != 0) request.number(IFLA_MTU, settings.mtu);
  steps.request(request, "eth0: mac address and mtu");
}

// Nothing is sent that no program has asked for: no address of the kernel's own making, no question
// for routers. False: this kernel has no IPv6.
bool keep_ipv6_quiet(Steps& steps) {
  if (access("/proc/sys/net/ipv6", F_OK) != 0) return false;
  NetlinkRequest request(RTM_NEWLINK, 0);
  request.body(link_message(steps.index(), 0, 0));
  const size_t families = request.open(IFLA_AF_SPEC);
  const size_t ipv6 = request.open(AF_INET6);
  request.number(IFLA_INET6_ADDR_GEN_MODE, uint8_t{IN6_ADDR_GEN_MODE_NONE});
  request.close(ipv6);
  request.close(families);
  steps.request(request, "eth0: no address of its own making");
  steps.keep(write_file("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0"));
  return true;
}

NetlinkRequest address_request(uint16_t type, uint16_t flags, int index,
                               const InterfaceAddress& what) {
  ifaddrmsg message{};
  message.ifa_family = family_of(what.address);
  message.ifa_prefixlen = what.prefix_bits;
  message.ifa_index = static_cast<unsigned>(index);
  if (what.address.is_ipv6()) message.ifa_flags = IFA_F_NODAD;
  NetlinkRequest request(type, flags);
  request.body(message);
  request.attribute(IFA_LOCAL, bytes_of(what.address));
  request.attribute(IFA_ADDRESS, bytes_of(what.address));
  return request;
}

// IPv4: the last address of the prefix, where there are addresses for anybody else.
void add_broadcast(NetlinkRequest& request, const InterfaceAddress& what) {
  if (what.address.is_ipv6() || what.prefix_bits > 30) return;
  std::array<uint8_t, 4> last{};
  for (size_t i = 0; i < last.size(); i++) {
    const int free_bits = 8 * (static_cast<int>(i) + 1) - what.prefix_bits;
    const int mask = free_bits <= 0 ? 0 : free_bits >= 8 ? 0xff : (1 << free_bits) - 1;
    last[i] = static_cast<uint8_t>(what.address.bytes[i] | mask);
  }
  request.attribute(IFA_BROADCAST, std::as_bytes(std::span(last)));
}

void add_address(Steps& steps, const InterfaceAddress& what) {
  NetlinkRequest request = address_request(RTM_NEWADDR, kReplace, steps.index(), what);
  add_broadcast(request, what);
  steps.request(request, "eth0: add an address");
}

void add_default_route(Steps& steps, const IpAddress& gateway) {
  rtmsg message{};
  message.rtm_family = family_of(gateway);
  message.rtm_table = RT_TABLE_MAIN;
  message.rtm_protocol = RTPROT_BOOT;
  message.rtm_scope = RT_SCOPE_UNIVERSE;
  message.rtm_type = RTN_UNICAST;
  NetlinkRequest request(RTM_NEWROUTE, kReplace);
  request.body(message);
  request.attribute(RTA_GATEWAY, bytes_of(gateway));
  request.number(RTA_OIF, steps.index());
  steps.request(request, "eth0: add the default route");
}

void add_neighbour(Steps& steps, const Neighbour& neighbour) {
  ndmsg message{};
  message.ndm_family = family_of(neighbour.address);
  message.ndm_ifindex = steps.index();
  message.ndm_state = NUD_PERMANENT;
  NetlinkRequest request(RTM_NEWNEIGH, kReplace);
  request.body(message);
  request.attribute(NDA_DST, bytes_of(neighbour.address));
  request.attribute(NDA_LLADDR, std::as_bytes(std::span(neighbour.mac)));
  steps.request(request, "eth0: add a neighbour");
}

}  // namespace

InterfaceSettings user_network_settings() {
  InterfaceSettings settings;
  settings.mac = wire::kGuestMac;  // a tap's may be there still
  settings.mtu = wire::kNetMtu;
  settings.addresses = {{IpAddress(wire::kGuestIpv4), wire::kIpv4PrefixBits},
                        {IpAddress(wire::kGuestIpv6), wire::kIpv6PrefixBits}};
  settings.gateways = {IpAddress(wire::kGatewayIpv4), IpAddress(wire::kGatewayIpv6)};
  for (const IpAddress& address : {IpAddress(wire::kGatewayIpv4), IpAddress(wire::kResolverIpv4),
                                   IpAddress(wire::kGatewayIpv6), IpAddress(wire::kResolverIpv6)})
    settings.neighbours.push_back({address, wire::kGatewayMac});
  return settings;
}

// IPv4 first: when the interface comes up, its addresses are announced. IPv6 addresses are added
// where they are used at once, and routes need both.
Outcome<void> configure_interface(Netlink& netlink, int index, const InterfaceSettings& settings) {
  Steps steps(netlink, index);
  set_link(steps, settings);
  const bool has_ipv6 = keep_ipv6_quiet(steps);
  const auto usable = [&](const IpAddress& address) { return has_ipv6 || !address.is_ipv6(); };
  steps.keep(write_file("/proc/sys/net/ipv4/conf/eth0/arp_notify", settings.announce ? "1" : "0"));
  for (const auto& address : settings.addresses)
    if (!address.address.is_ipv6()) add_address(steps, address);
  set_up(steps, true);
  for (const auto& address : settings.addresses)
    if (address.address.is_ipv6() && has_ipv6) add_address(steps, address);
  for (const auto& neighbour : settings.neighbours)
    if (usable(neighbour.address)) add_neighbour(steps, neighbour);
  for (const auto& gateway : settings.gateways)
    if (usable(gateway)) add_default_route(steps, gateway);
  return steps.outcome();
}

// The kernel itself drops routes, neighbours and IPv6 addresses then.
Outcome<void> take_interface_down(Netlink& netlink, int index, const InterfaceSettings& had) {
  Steps steps(netlink, index);
  set_up(steps, false);
  for (const auto& address : had.addresses) {
    NetlinkRequest request = address_request(RTM_DELADDR, 0, index, address);
    // A program may have removed it, or the kernel.
    static_cast<void>(netlink.request(request, "eth0: remove an address"));
  }
  return steps.outcome();
}

Outcome<void> rename_interface(Netlink& netlink, int index, const char* name) {
  NetlinkRequest request(RTM_NEWLINK, 0);
  request.body(link_message(index, 0, 0));
  request.attribute(IFLA_IFNAME, std::as_bytes(std::span(name, std::strlen(name) + 1)));
  return netlink.request(request, "name eth0");
}

}  // namespace microvm::agent
