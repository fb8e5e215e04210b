#include "net/control/host_address_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

namespace microvm::net {
namespace {

// The interface's own: of a point-to-point link IFA_ADDRESS is the other end's.
std::optional<Address> address_in(nlmsghdr* message) {
  auto* head = static_cast<ifaddrmsg*>(NLMSG_DATA(message));
  std::optional<Address> found;
  auto left = static_cast<int>(IFA_PAYLOAD(message));
  for (rtattr* part = IFA_RTA(head); RTA_OK(part, left); part = RTA_NEXT(part, left)) {
    const bool is_local = part->rta_type == IFA_LOCAL;
    if (!is_local && (part->rta_type != IFA_ADDRESS || found)) continue;
    const auto* bytes = static_cast<const uint8_t*>(RTA_DATA(part));
    if (RTA_PAYLOAD(part) == 4) found = from_ipv4({bytes[0], bytes[1], bytes[2], bytes[3]});
    if (RTA_PAYLOAD(part) == 16) {
      found.emplace();
      std::copy_n(bytes, found->size(), found->begin());
    }
  }
  return found;
}

}  // namespace

HostAddressWatch::~HostAddressWatch() {
  if (watch_ != 0) loop_.unwatch(watch_);
}

Result<void> HostAddressWatch::start() {
  socket_ = base::Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl here{};
  here.nl_family = AF_NETLINK;
  here.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  const auto* raw = reinterpret_cast<const sockaddr*>(&here);
  if (!socket_ || ::bind(socket_.get(), raw, sizeof here) != 0) {
    return base::fail_errno("follow the host's addresses");
  }
  if (auto ok = ask_for_all(); !ok) return ok;
  while (read_some(true)) {
  }
  changed_(HostAddresses({addresses_.begin(), addresses_.end()}));
  watch_ = loop_.watch(socket_.get(), POLLIN, [this](uint32_t) { on_readable(); });
  return {};
}

Result<void> HostAddressWatch::ask_for_all() {
  struct Request {
    nlmsghdr header;
    ifaddrmsg body;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  addresses_.clear();
  if (::send(socket_.get(), &request, sizeof request, 0) < 0) {
    return base::fail_errno("ask for the host's addresses");
  }
  return {};
}

bool HostAddressWatch::read_some(bool waits) {
  alignas(nlmsghdr) std::array<uint8_t, 16384> buffer;
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), waits ? 0 : MSG_DONTWAIT);
  // Some were lost: all are asked for again.
  if (got < 0 && errno == ENOBUFS) return ask_for_all().has_value();
  if (got <= 0) return got < 0 && errno == EINTR;
  auto left = static_cast<unsigned>(got);
  for (auto* part = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(part, left);
       part = NLMSG_NEXT(part, left)) {
    if (part->nlmsg_type == NLMSG_DONE || part->nlmsg_type == NLMSG_ERROR) return !waits;
    const auto address = address_in(part);
    if (part->nlmsg_type == RTM_NEWADDR && address) addresses_.insert(*address);
    if (part->nlmsg_type == RTM_DELADDR && address) addresses_.erase(*address);
  }
  return true;
}

void HostAddressWatch::on_readable() {
  while (read_some(false)) {
  }
  changed_(HostAddresses({addresses_.begin(), addresses_.end()}));
}

}  // namespace microvm::net
