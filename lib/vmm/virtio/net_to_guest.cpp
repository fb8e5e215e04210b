// Frames for the guest. As many of its buffers as the last frame needed are taken, the frame is
// read into them, and what is longer into spill_, from where it is copied into more of them.
// Buffers that were taken and not used are put back at the end of a turn: none is ever in flight
// between two.
#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vmm/virtio/chain_bytes.hpp"
#include "vmm/virtio/net.hpp"

namespace microvm::vmm {
namespace {

constexpr int kReceivedPerTurn = 64;
constexpr size_t kMaxPiecesOfOne = 64;  // Linux has 19 at most
constexpr size_t kMaxPiecesRead = 960;  // of all buffers that one readv may fill
constexpr size_t kMostExpected = 64;
constexpr size_t kMostBuffers = 256;  // of one frame
constexpr uint8_t kDataValid = 2;     // virtio 1.2 §5.1.6

// Without the first `count` bytes.
std::span<iovec> skip_front(std::span<iovec> pieces, size_t count) {
  while (!pieces.empty() && count >= pieces.front().iov_len) {
    count -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (pieces.empty()) return pieces;
  pieces.front().iov_base = static_cast<std::byte*>(pieces.front().iov_base) + count;
  pieces.front().iov_len -= count;
  return pieces;
}

void copy_from(std::span<const iovec> pieces, std::span<std::byte> to) {
  for (const iovec& piece : pieces) {
    const size_t part = std::min(piece.iov_len, to.size());
    std::memcpy(to.data(), piece.iov_base, part);
    to = to.subspan(part);
  }
}

}  // namespace

void NetDevice::tap_ready(uint32_t events) {
  const auto guard = lock();
  if (!active_) return listen(false);
  if ((events & ~static_cast<uint32_t>(POLLIN)) != 0) return on_lost(ENODEV);
  receive();
  host().publish(kRxQueue);
}

// Until nothing is there or the turn is over; then the tap is still readable and comes again.
void NetDevice::receive() {
  Got got = held_bytes_ > 0 ? deliver_held() : Got::frame;
  for (int frames = 0; got == Got::frame && frames < kReceivedPerTurn; ++frames) {
    got = receive_frame();
  }
  put_back_buffers();
  if (got == Got::lost) return;
  listen(got != Got::no_buffers);
}

NetDevice::Got NetDevice::receive_frame() {
  if (!take_buffers(1)) return Got::no_buffers;
  while (taken_count_ < expected_buffers_ && taken_pieces_ + kMaxPiecesOfOne < kMaxPiecesRead) {
    if (!take_buffer()) break;
  }
  const ssize_t got = read_tap();
  if (got == -EAGAIN) return Got::nothing;
  if (got <= 0) {
    on_lost(got == 0 ? ENODEV : static_cast<int>(-got));
    return Got::lost;
  }
  const auto count = static_cast<size_t>(got);
  if (count < sizeof header_ + kEthernetBytes || !is_wanted()) return dropped_for_guest();
  return deliver(count - sizeof header_);
}

// Header and frame; the number of bytes or -errno.
ssize_t NetDevice::read_tap() {
  const auto room = room_of_taken();
  read_list_.assign(1, {&header_, sizeof header_});
  read_list_.insert(read_list_.end(), room.begin(), room.end());
  read_list_.push_back({spill_.data(), spill_.size()});
  ssize_t got = -1;
  do {
    got = ::readv(tap_fd_.get(), read_list_.data(), static_cast<int>(read_list_.size()));
  } while (got < 0 && errno == EINTR);
  return got < 0 ? -errno : got;
}

// The host's kernel said what it left for the guest to do; the driver may not have agreed to it.
bool NetDevice::is_wanted() {
  const bool sums = host().has_feature(kNetGuestCsum);
  if (!sums) header_.flags &= static_cast<uint8_t>(~kDataValid);
  if ((header_.flags & kNetNeedsCsum) != 0 && !sums) return false;
  switch (header_.gso_type) {
    case kNetGsoNone:
      return true;
    case kNetGsoTcp4:
      return host().has_feature(kNetGuestTso4);
    case kNetGsoTcp6:
      return host().has_feature(kNetGuestTso6);
    default:
      return false;
  }
}

NetDevice::Got NetDevice::dropped_for_guest() {
  ++counters_.unwanted;
  return Got::frame;
}

// A frame whose beginning is in the buffers taken, and what is longer in spill_.
NetDevice::Got NetDevice::deliver(size_t bytes) {
  const size_t in_buffers = std::min(bytes, taken_bytes_);
  if (bytes > spill_.size()) return dropped_for_guest();
  if (bytes > taken_bytes_) {
    if (!can_take_more()) return dropped_for_guest();
    if (!take_buffers(bytes)) {
      if (taken_count_ == kMostBuffers) {
        put_back_buffers();  // they may have more parts than one readv takes
        return dropped_for_guest();
      }
      hold(in_buffers, bytes);
      return Got::no_buffers;
    }
    put_frame(in_buffers, std::span(spill_).first(bytes - in_buffers));
  }
  push_frame(bytes);
  return Got::frame;
}

// Without merged buffers a frame has one.
bool NetDevice::can_take_more() const {
  return host().has_feature(kNetMergedBuffers);
}

// All of it in spill_, until the driver has more buffers.
void NetDevice::hold(size_t in_buffers, size_t bytes) {
  std::memmove(spill_.data() + in_buffers, spill_.data(), bytes - in_buffers);
  copy_from(room_of_taken(), std::span(spill_).first(in_buffers));
  held_bytes_ = bytes;
}

NetDevice::Got NetDevice::deliver_held() {
  if (!take_buffers(held_bytes_)) return Got::no_buffers;
  put_frame(0, std::span(spill_).first(held_bytes_));
  push_frame(std::exchange(held_bytes_, 0));
  return Got::frame;
}

// ---- buffers -----------------------------------------------------------------------------------

// Until a frame of so many bytes has room.
bool NetDevice::take_buffers(size_t bytes) {
  while (taken_count_ == 0 || taken_bytes_ < bytes) {
    if (!take_buffer()) return false;
  }
  return true;
}

bool NetDevice::take_buffer() {
  if (taken_count_ == kMostBuffers) return false;
  if (taken_count_ == taken_.size()) taken_.emplace_back();
  Chain& chain = taken_[taken_count_];
  if (!host().pop(kRxQueue, chain)) return false;
  const size_t header = taken_count_ == 0 ? sizeof header_ : 0;
  // Any of them may come to be the first, which has the header (virtio 1.2 §5.1.6.3.1).
  if (chain.writable_bytes <= sizeof header_ || chain.writable.size() > kMaxPiecesOfOne) {
    host().push(kRxQueue, chain.head, 0);
    host().fail("a receive buffer has no room for a frame, or too many parts");
    return false;
  }
  ++taken_count_;
  taken_bytes_ += chain.writable_bytes - header;
  taken_pieces_ += chain.writable.size();
  return true;
}

// Where the frame goes: behind the header's place in the first buffer.
std::span<iovec> NetDevice::room_of_taken() {
  pieces_.clear();
  for (const Chain& chain : std::span(taken_).first(taken_count_)) {
    pieces_.insert(pieces_.end(), chain.writable.begin(), chain.writable.end());
  }
  return skip_front(pieces_, sizeof header_);
}

// Bytes of the frame from `at` on; there is room for them.
void NetDevice::put_frame(size_t at, wire::ByteView bytes) {
  static_cast<void>(copy_to(skip_front(room_of_taken(), at), bytes));
}

// The first buffers, as many as the frame fills; the others are for the next one.
void NetDevice::push_frame(size_t bytes) {
  size_t used = 0;
  size_t left = bytes + sizeof header_;
  while (left > 0 && used < taken_count_) {
    left -= std::min<size_t>(left, taken_[used++].writable_bytes);
  }
  header_.num_buffers = static_cast<uint16_t>(used);
  static_cast<void>(copy_to(taken_[0].writable, std::as_bytes(std::span(&header_, 1))));
  left = bytes + sizeof header_;
  for (const Chain& chain : std::span(taken_).first(used)) {
    const size_t part = std::min<size_t>(left, chain.writable_bytes);
    host().push(kRxQueue, chain.head, static_cast<uint32_t>(part));
    left -= part;
  }
  keep_buffers_from(used);
  expected_buffers_ = std::min(used, kMostExpected);
  ++counters_.frames_to_guest;
  counters_.bytes_to_guest += bytes;
}

void NetDevice::keep_buffers_from(size_t used) {
  std::rotate(taken_.begin(), taken_.begin() + static_cast<ptrdiff_t>(used),
              taken_.begin() + static_cast<ptrdiff_t>(taken_count_));
  taken_count_ -= used;
  taken_bytes_ = taken_pieces_ = 0;
  for (const Chain& chain : std::span(taken_).first(taken_count_)) {
    taken_bytes_ += chain.writable_bytes;
    taken_pieces_ += chain.writable.size();
  }
  if (taken_count_ > 0) taken_bytes_ -= std::min(taken_bytes_, sizeof header_);
}

void NetDevice::put_back_buffers() {
  while (taken_count_ > 0) host().put_back(kRxQueue, taken_[--taken_count_].head);
  taken_bytes_ = taken_pieces_ = 0;
}

}  // namespace microvm::vmm
