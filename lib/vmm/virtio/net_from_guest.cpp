// Frames of the guest: to the tap, to microvm-net, or nowhere.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "vmm/virtio/chain_bytes.hpp"
#include "vmm/virtio/net.hpp"

namespace microvm::vmm {
namespace {

// Linux has 19 at most. One and the next must fit into what writev takes.
constexpr size_t kMaxPieces = 256;
// A queue's worth; then the loop's other work has its turn.
constexpr int kSentPerTurn = 256;

void append_bytes(std::vector<std::byte>& to, const void* from, size_t count) {
  const auto* begin = static_cast<const std::byte*>(from);
  to.insert(to.end(), begin, begin + count);
}

}  // namespace

// In a kick the transport ends it, too, and publishes.
void NetDevice::send_frames() {
  int left = kSentPerTurn;
  while (left > 0 && host().pop(kTxQueue, chain_)) {
    const uint16_t head = chain_.head;
    if (send(chain_) == Sent::waits) {
      host().put_back(kTxQueue, head);
      break;
    }
    host().push(kTxQueue, head, 0);
    --left;
  }
  host().publish(kTxQueue);
  if (left == 0) post_send();
}

void NetDevice::post_send() {
  loop_.post([self = self_] {
    if (*self == nullptr) return;
    const auto guard = (*self)->lock();
    if ((*self)->active_) (*self)->send_frames();
  });
}

void NetDevice::drop_waiting() {
  int left = kSentPerTurn;
  for (; left > 0 && host().pop(kTxQueue, chain_); --left) {
    ++counters_.no_network;
    host().push(kTxQueue, chain_.head, 0);
  }
  host().publish(kTxQueue);
  if (left == 0) post_send();
}

NetDevice::Sent NetDevice::send(Chain& chain) {
  Frame frame;
  const bool sized = chain.readable_bytes >= sizeof(NetHeader) + kEthernetBytes &&
                     chain.readable_bytes <= wire::kMaxFrameBytes &&
                     chain.readable.size() <= kMaxPieces;
  if (!sized || !take_front(chain, frame.header)) return dropped(counters_.malformed);
  frame.bytes = chain.readable_bytes;
  const auto head = std::span(head_).first(std::min(frame.bytes, head_.size()));
  if (!take_front_bytes(chain, head) || !take_offloads(frame, agreed_offloads())) {
    return dropped(counters_.malformed);
  }
  frame.head = head;
  switch (kind_) {
    case wire::NetworkKind::user:
      return send_by_kind(frame, chain);
    case wire::NetworkKind::tap:
      return tap_ == Tap::there ? write_tap(frame, chain) : dropped(counters_.no_network);
    default:
      return dropped(counters_.no_network);
  }
}

uint64_t NetDevice::agreed_offloads() const {
  uint64_t agreed = 0;
  for (const uint64_t feature : {kNetCsum, kNetHostTso4, kNetHostTso6}) {
    if (host().has_feature(feature)) agreed |= feature;
  }
  return agreed;
}

NetDevice::Sent NetDevice::send_by_kind(const Frame& frame, const Chain& chain) {
  const FrameFacts facts = classify(frame);
  switch (facts.kind) {
    case FrameKind::malformed:
      return dropped(counters_.malformed);
    case FrameKind::spoofed:
      return dropped(counters_.spoofed);
    case FrameKind::chatter:
      if (tap_ == Tap::there) return write_tap(frame, chain);
      return tap_ == Tap::none ? dropped(counters_.no_network) : Sent::waits;
    default:
      break;
  }
  if (tap_ == Tap::none && !ask_for_tap()) return dropped(counters_.no_network);
  if (tap_ == Tap::asked) return Sent::waits;
  const bool to_tap = facts.kind == FrameKind::pass ||
                      (facts.kind == FrameKind::udp && pairs_.holds(facts.guest, facts.remote));
  return to_tap ? write_tap(frame, chain) : send_first(frame, chain);
}

bool NetDevice::ask_for_tap() {
  if (!callbacks_.want_tap || !callbacks_.want_tap()) return false;
  tap_ = Tap::asked;
  return true;
}

// Without offload and so no longer than an MTU: classify() has seen to it.
NetDevice::Sent NetDevice::send_first(const Frame& frame, const Chain& chain) {
  std::vector<std::byte> whole;
  whole.reserve(sizeof frame.header + frame.bytes);
  append_bytes(whole, &frame.header, sizeof frame.header);
  append_bytes(whole, frame.head.data(), frame.head.size());
  for (const iovec& piece : chain.readable) append_bytes(whole, piece.iov_base, piece.iov_len);
  if (!callbacks_.first_packet || !callbacks_.first_packet(whole))
    return dropped(counters_.overrun);
  return sent(frame);
}

NetDevice::Sent NetDevice::dropped(uint64_t& counter) {
  ++counter;
  return Sent::done;
}

NetDevice::Sent NetDevice::sent(const Frame& frame) {
  ++counters_.frames_from_guest;
  counters_.bytes_from_guest += frame.bytes;
  return Sent::done;
}

// The copies that were looked at, and behind them what the guest's memory has.
NetDevice::Sent NetDevice::write_tap(const Frame& frame, const Chain& chain) {
  NetHeader header = frame.header;
  pieces_.clear();
  pieces_.push_back({&header, sizeof header});
  pieces_.push_back({head_.data(), frame.head.size()});
  pieces_.insert(pieces_.end(), chain.readable.begin(), chain.readable.end());
  ssize_t written = -1;
  do {
    written = ::writev(tap_fd_.get(), pieces_.data(), static_cast<int>(pieces_.size()));
  } while (written < 0 && errno == EINTR);
  if (written >= 0) return sent(frame);
  if (errno == EINVAL || errno == EFAULT) return dropped(counters_.malformed);
  const int error = errno;
  const bool full = error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == EIO;
  if (!full) on_lost(error);
  return dropped(full ? counters_.overrun : counters_.no_network);
}

}  // namespace microvm::vmm
