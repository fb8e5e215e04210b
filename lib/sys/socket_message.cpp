// Datagrams with fds (unix(7), SCM_RIGHTS).
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "sys/socket.hpp"

namespace microvm::sys {
namespace {

base::Failure message_failure(const std::string& what) {
  if (errno == EAGAIN) return base::fail(ErrorCode::busy, what + ": would block");
  return base::fail_errno(what);
}

// The kernel installs every fd that fits the control buffer, so all are owned before any check.
std::vector<base::Fd> take_fds(msghdr& header) {
  std::vector<base::Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<void> send_message(int socket_fd, std::span<const std::byte> bytes,
                          std::span<const int> fds) {
  if (fds.size() > kMaxMessageFds) {
    return base::fail(ErrorCode::invalid_argument, "send message: more fds than the kernel passes");
  }
  iovec body{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  std::vector<std::byte> control(fds.empty() ? 0 : CMSG_SPACE(fds.size_bytes()));
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  while (::sendmsg(socket_fd, &header, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return message_failure("send message");
  }
  return {};
}

// What was sent is charged to the sender until it is received. In the numbers of SO_MEMINFO, since
// Linux 4.12.
bool has_unread(int socket_fd) {
  std::array<uint32_t, SK_MEMINFO_VARS> numbers{};
  socklen_t size = sizeof numbers;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_MEMINFO, numbers.data(), &size) != 0) return false;
  return numbers[SK_MEMINFO_WMEM_ALLOC] != 0;
}

Result<ReceivedMessage> receive_message(int socket_fd, MessageLimits limits) {
  ReceivedMessage message;
  // Not zeroed: of the room for the longest message only what comes is touched.
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(limits.bytes);
  const size_t max_fds = std::min(limits.fds, kMaxMessageFds);
  std::vector<std::byte> control(CMSG_SPACE(max_fds * sizeof(int)));
  iovec body{buffer.get(), limits.bytes};
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  ssize_t got = -1;
  do {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    got = ::recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return message_failure("receive message");
  message.fds = take_fds(header);
  // The kernel cuts what it cannot install just as it cuts what the buffer has no room for.
  const bool cut = (header.msg_flags & MSG_CTRUNC) != 0;
  message.out_of_fds = cut && message.fds.size() < max_fds;
  if ((header.msg_flags & MSG_TRUNC) != 0 || message.fds.size() > max_fds ||
      (cut && !message.out_of_fds)) {
    return base::fail(ErrorCode::protocol, "receive message: longer than allowed");
  }
  if (message.out_of_fds) message.fds.clear();
  if (got == 0) return base::fail(ErrorCode::vm_gone, "receive message: the peer closed");
  message.bytes.assign(buffer.get(), buffer.get() + got);
  return message;
}

}  // namespace microvm::sys
