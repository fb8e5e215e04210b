#include "net/space/netlink.hpp"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.hpp"

namespace microvm::net::space {
namespace {

constexpr uint8_t family_of(std::span<const uint8_t> address) {
  return address.size() == 4 ? AF_INET : AF_INET6;
}

}  // namespace

void NetlinkBatch::put(const void* data, size_t size) {
  const auto* first = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), first, first + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  const auto length = static_cast<uint32_t>(bytes_.size() - current_);
  std::memcpy(bytes_.data() + current_ + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
}

template <class Header>
void NetlinkBatch::begin(const char* what, uint16_t type, uint16_t flags, const Header& header) {
  current_ = bytes_.size();
  nlmsghdr message{};
  message.nlmsg_type = type;
  message.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  message.nlmsg_seq = static_cast<uint32_t>(names_.size());
  names_.push_back(what);
  put(&message, sizeof message);
  put(&header, sizeof header);
}

void NetlinkBatch::attribute(uint16_t type, std::span<const uint8_t> value) {
  const rtattr head{static_cast<uint16_t>(RTA_LENGTH(value.size())), type};
  put(&head, sizeof head);
  put(value.data(), value.size());
}

void NetlinkBatch::attribute(uint16_t type, uint32_t value) {
  attribute(type, std::span(reinterpret_cast<const uint8_t*>(&value), sizeof value));
}

void NetlinkBatch::link_up(unsigned interface, uint32_t mtu, std::span<const uint8_t> mac) {
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(interface);
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  begin("set the link up", RTM_NEWLINK, 0, link);
  if (mtu != 0) attribute(IFLA_MTU, mtu);
  if (!mac.empty()) attribute(IFLA_ADDRESS, mac);
}

void NetlinkBatch::add_address(unsigned interface, const NetPrefix& address) {
  ifaddrmsg head{};
  head.ifa_family = family_of(address.address);
  head.ifa_prefixlen = address.bits;
  head.ifa_flags = IFA_F_NODAD;
  head.ifa_index = interface;
  begin("add an address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, head);
  attribute(IFA_LOCAL, address.address);
  attribute(IFA_ADDRESS, address.address);
}

void NetlinkBatch::add_neighbour(unsigned interface, std::span<const uint8_t> address,
                                 std::span<const uint8_t> mac) {
  ndmsg head{};
  head.ndm_family = family_of(address);
  head.ndm_ifindex = static_cast<int>(interface);
  head.ndm_state = NUD_PERMANENT;
  begin("add a neighbour", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, head);
  attribute(NDA_DST, address);
  attribute(NDA_LLADDR, mac);
}

void NetlinkBatch::add_local_route(uint8_t family, unsigned interface) {
  rtmsg head{};
  head.rtm_family = family;
  head.rtm_table = RT_TABLE_LOCAL;
  head.rtm_protocol = RTPROT_BOOT;
  head.rtm_scope = RT_SCOPE_HOST;
  head.rtm_type = RTN_LOCAL;
  begin("make all addresses local", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, head);
  attribute(RTA_OIF, interface);
}

void NetlinkBatch::add_default_route(unsigned interface, std::span<const uint8_t> gateway) {
  rtmsg head{};
  head.rtm_family = family_of(gateway);
  head.rtm_table = RT_TABLE_MAIN;
  head.rtm_protocol = RTPROT_BOOT;
  head.rtm_type = RTN_UNICAST;
  begin("add a default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, head);
  attribute(RTA_GATEWAY, gateway);
  attribute(RTA_OIF, interface);
}

void NetlinkBatch::rule(const char* what, uint16_t type, uint8_t family, uint32_t preference,
                        const NetPrefix& to, uint8_t table) {
  fib_rule_hdr head{};
  head.family = family;
  head.dst_len = to.bits;
  head.table = table;
  head.action = FR_ACT_TO_TBL;
  const bool adds = type == RTM_NEWRULE;
  begin(what, type, adds ? NLM_F_CREATE | NLM_F_EXCL : 0, head);
  attribute(FRA_PRIORITY, preference);
  if (!to.address.empty()) attribute(FRA_DST, to.address);
}

void NetlinkBatch::add_rule(uint8_t family, uint32_t preference, const NetPrefix& to,
                            uint8_t table) {
  rule("add a routing rule", RTM_NEWRULE, family, preference, to, table);
}

void NetlinkBatch::delete_rule(uint8_t family, uint32_t preference, uint8_t table) {
  rule("delete a routing rule", RTM_DELRULE, family, preference, {}, table);
}

Result<void> NetlinkBatch::read_answers(int socket_fd) const {
  for (size_t answered = 0; answered < names_.size();) {
    // Of a request that failed the kernel returns all of it, or with NETLINK_CAP_ACK the header.
    alignas(nlmsghdr) std::array<uint8_t, 16384> buffer;
    const ssize_t got = ::recv(socket_fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return base::fail_errno("read from rtnetlink");
    auto left = static_cast<unsigned>(got);
    for (auto* part = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(part, left);
         part = NLMSG_NEXT(part, left)) {
      if (part->nlmsg_type != NLMSG_ERROR) continue;
      ++answered;
      const int error = static_cast<const nlmsgerr*>(NLMSG_DATA(part))->error;
      if (error == 0 || part->nlmsg_seq >= names_.size()) continue;
      return base::fail_errno(names_[part->nlmsg_seq], -error);
    }
  }
  return {};
}

Result<void> NetlinkBatch::run() {
  const base::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return base::fail_errno("open rtnetlink");
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  const auto sent = ::sendto(fd.get(), bytes_.data(), bytes_.size(), 0,
                             reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return base::fail_errno("write to rtnetlink");
  return read_answers(fd.get());
}

}  // namespace microvm::net::space
