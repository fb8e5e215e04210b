#include "vmm/virtio/vsock/vsock_stream.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "vmm/virtio/vsock/vsock_packet.hpp"

namespace microvm::vmm {
namespace {

constexpr size_t kMaxBuffers = 1024;  // IOV_MAX of Linux

msghdr to_message(std::span<const iovec> buffers) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(buffers.data());
  message.msg_iovlen = std::min(buffers.size(), kMaxBuffers);
  return message;
}

}  // namespace

bool VsockStream::take(std::span<const iovec> payload, uint32_t length) {
  if (length > window_ - (received_ - forwarded_)) return false;
  received_ += length;
  const size_t written = has_unsent() || reader_gone_ ? 0 : write_now(payload);
  forwarded_ += static_cast<uint32_t>(written);
  if (reader_gone_) {
    forwarded_ = received_;
  } else {
    keep(payload, written, length - written);
  }
  return true;
}

// A full socket is no error: the rest waits. Any other failure means that nobody reads any more.
size_t VsockStream::write_now(std::span<const iovec> payload) {
  const msghdr message = to_message(payload);
  if (message.msg_iovlen == 0) return 0;
  while (true) {
    const ssize_t written = ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0) return static_cast<size_t>(written);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) drop_unsent();
    return 0;
  }
}

void VsockStream::keep(std::span<const iovec> payload, size_t skip, size_t length) {
  if (length == 0) return;
  if (unsent_start_ > 0) {
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<ptrdiff_t>(unsent_start_));
    unsent_start_ = 0;
  }
  std::vector<iovec> rest;
  append_slice(payload, skip, length, rest);
  for (const iovec& piece : rest) {
    const auto* bytes = static_cast<const std::byte*>(piece.iov_base);
    unsent_.insert(unsent_.end(), bytes, bytes + piece.iov_len);
  }
}

void VsockStream::flush() {
  if (!has_unsent()) return;
  const iovec left{unsent_.data() + unsent_start_, unsent_.size() - unsent_start_};
  const size_t written = write_now(std::span(&left, 1));
  if (reader_gone_) return;
  forwarded_ += static_cast<uint32_t>(written);
  unsent_start_ += written;
  if (unsent_start_ < unsent_.size()) return;
  unsent_start_ = 0;
  std::vector<std::byte>().swap(unsent_);  // a slow reader's memory is not kept
  if (guest_ended_) ::shutdown(fd(), SHUT_WR);
}

void VsockStream::drop_unsent() {
  reader_gone_ = true;
  forwarded_ = received_;
  unsent_start_ = 0;
  std::vector<std::byte>().swap(unsent_);
}

void VsockStream::end_of_guest_data() {
  if (!guest_ended_ && !has_unsent()) ::shutdown(fd(), SHUT_WR);
  guest_ended_ = true;
}

void VsockStream::refuse_host_data() {
  ::shutdown(fd(), SHUT_RD);
}

uint32_t VsockStream::readable_bytes() const {
  int bytes = 0;
  if (::ioctl(fd(), FIONREAD, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<uint32_t>(bytes);
}

bool VsockStream::at_end() const {
  std::byte next{};
  const ssize_t got = ::recv(fd(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

bool VsockStream::hung_up() const {
  pollfd state{fd(), 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

ssize_t VsockStream::read(std::span<const iovec> buffers) {
  msghdr message = to_message(buffers);
  ssize_t got = -1;
  do {
    got = ::recvmsg(fd(), &message, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got;
}

// The guest's numbers may be nonsense; they can only cost it its own data.
uint32_t VsockStream::guest_credit() const {
  const uint32_t on_the_way = sent_ - guest_fwd_cnt_;
  return on_the_way >= guest_buf_alloc_ ? 0 : guest_buf_alloc_ - on_the_way;
}

void VsockStream::set_guest_credit(uint32_t buf_alloc, uint32_t fwd_cnt) {
  guest_buf_alloc_ = buf_alloc;
  guest_fwd_cnt_ = fwd_cnt;
}

}  // namespace microvm::vmm
