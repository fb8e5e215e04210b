#include "agent/network/netlink.hpp"

#include <linux/if_arp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace microvm::agent {
namespace {

constexpr size_t kDumpBytes = 32 * 1024;  // what the kernel fills at most with one part of a dump
constexpr size_t kAnswerBytes = 1024;     // the error, and the request it is about

Outcome<void> send_request(int socket, std::span<const std::byte> bytes, const char* what) {
  if (bytes.empty()) return fail_errno(what, EMSGSIZE);
  if (send(socket, bytes.data(), bytes.size(), 0) < 0) return fail_errno(what);
  return {};
}

// One datagram of whole messages.
Outcome<std::span<const std::byte>> receive(int socket, std::span<std::byte> reply,
                                            const char* what) {
  ssize_t count = 0;
  do {
    count = recv(socket, reply.data(), reply.size(), 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno(what);
  return std::span<const std::byte>(reply.data(), static_cast<size_t>(count));
}

// The kernel's messages are aligned in the buffer, which is.
const nlmsghdr* header_of(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(nlmsghdr)) return nullptr;
  const auto* header = reinterpret_cast<const nlmsghdr*>(bytes.data());
  return header->nlmsg_len < sizeof(nlmsghdr) || header->nlmsg_len > bytes.size() ? nullptr
                                                                                  : header;
}

std::span<const std::byte> after(std::span<const std::byte> bytes, size_t size) {
  return bytes.subspan(std::min(bytes.size(), (size + NLMSG_ALIGNTO - 1) & ~(NLMSG_ALIGNTO - 1ul)));
}

// Of an NLMSG_ERROR: 0 when it was done.
int error_of(const nlmsghdr& header) {
  nlmsgerr error{};
  if (header.nlmsg_len < NLMSG_LENGTH(sizeof error.error)) return EPROTO;
  std::memcpy(&error.error, NLMSG_DATA(&header), sizeof error.error);
  return -error.error;
}

void copy_name(std::span<const std::byte> attributes, std::array<char, 16>& name) {
  while (attributes.size() >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, attributes.data(), sizeof attribute);
    if (attribute.rta_len < sizeof attribute || attribute.rta_len > attributes.size()) return;
    const auto value = attributes.subspan(RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0));
    if (attribute.rta_type == IFLA_IFNAME) {
      std::memcpy(name.data(), value.data(), std::min(value.size(), name.size() - 1));
      return;
    }
    attributes = after(attributes, attribute.rta_len);
  }
}

// Keeps an Ethernet interface of a lower number than the one there.
void look_at_link(std::span<const std::byte> message, FoundInterface& best) {
  ifinfomsg link{};
  if (message.size() < NLMSG_LENGTH(sizeof link)) return;
  std::memcpy(&link, message.data() + NLMSG_HDRLEN, sizeof link);
  if (link.ifi_type != ARPHRD_ETHER || (best.index != 0 && best.index < link.ifi_index)) return;
  best = {.index = link.ifi_index, .name = {}};
  copy_name(message.subspan(NLMSG_LENGTH(sizeof link)), best.name);
}

// One part of a dump. True: it was the last.
Outcome<bool> look_at_links(std::span<const std::byte> part, FoundInterface& best) {
  while (const nlmsghdr* header = header_of(part)) {
    if (header->nlmsg_type == NLMSG_DONE) return true;
    if (header->nlmsg_type == NLMSG_ERROR) return fail_errno("list interfaces", error_of(*header));
    if (header->nlmsg_type == RTM_NEWLINK) look_at_link(part.first(header->nlmsg_len), best);
    part = after(part, header->nlmsg_len);
  }
  return false;
}

}  // namespace

NetlinkRequest::NetlinkRequest(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  body(header);
}

void NetlinkRequest::append(std::span<const std::byte> bytes) {
  const size_t padded = (bytes.size() + NLMSG_ALIGNTO - 1) & ~(NLMSG_ALIGNTO - 1ul);
  if (padded > bytes_.size() - size_) {
    overflowed_ = true;
    return;
  }
  std::ranges::copy(bytes, bytes_.begin() + static_cast<ptrdiff_t>(size_));
  size_ += padded;
}

NetlinkRequest& NetlinkRequest::attribute(uint16_t type, std::span<const std::byte> value) {
  const rtattr header{.rta_len = static_cast<uint16_t>(RTA_LENGTH(value.size())), .rta_type = type};
  body(header);
  append(value);
  return *this;
}

size_t NetlinkRequest::open(uint16_t type) {
  const size_t nest = size_;
  attribute(type, {});
  return nest;
}

void NetlinkRequest::close(size_t nest) {
  const auto length = static_cast<uint16_t>(size_ - nest);
  if (!overflowed_) std::memcpy(bytes_.data() + nest, &length, sizeof length);
}

std::span<const std::byte> NetlinkRequest::bytes() {
  if (overflowed_) return {};
  const auto length = static_cast<uint32_t>(size_);
  std::memcpy(bytes_.data(), &length, sizeof length);
  return std::span(bytes_).first(size_);
}

Outcome<Netlink> Netlink::open() {
  base::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return fail_errno("netlink");
  return Netlink(std::move(socket));
}

Outcome<void> Netlink::request(NetlinkRequest& request, const char* what) {
  if (auto sent = send_request(socket_.get(), request.bytes(), what); !sent) return sent;
  alignas(nlmsghdr) std::array<std::byte, kAnswerBytes> reply{};
  const auto received = receive(socket_.get(), reply, what);
  if (!received) return fail(received.error());
  const nlmsghdr* header = header_of(*received);
  if (header == nullptr || header->nlmsg_type != NLMSG_ERROR) return fail_errno(what, EPROTO);
  if (const int error = error_of(*header); error != 0) return fail_errno(what, error);
  return {};
}

Outcome<FoundInterface> Netlink::find_ethernet() {
  NetlinkRequest list(RTM_GETLINK, NLM_F_DUMP);
  list.body(ifinfomsg{});
  if (auto sent = send_request(socket_.get(), list.bytes(), "list interfaces"); !sent)
    return fail(sent.error());
  alignas(nlmsghdr) std::array<std::byte, kDumpBytes> reply{};
  FoundInterface best;
  for (;;) {
    const auto part = receive(socket_.get(), reply, "list interfaces");
    if (!part) return fail(part.error());
    const auto last = look_at_links(*part, best);
    if (!last) return fail(last.error());
    if (*last) break;
  }
  if (best.index == 0) return fail_errno("network interface", ENODEV);
  return best;
}

}  // namespace microvm::agent
