#include "agent/terminal/pty_ring.hpp"

#include <algorithm>

namespace microvm::agent {
namespace {

// No line of a terminal is longer, as a rule; then only a whole character is looked for.
constexpr uint64_t kMaxLineBytes = 4096;

bool continues_character(std::byte byte) {
  return (byte & std::byte{0xC0}) == std::byte{0x80};
}

}  // namespace

// Not filled, so that memory is only had for what was written.
PtyRing::PtyRing(size_t capacity_bytes)
    : capacity_(capacity_bytes), bytes_(new std::byte[capacity_bytes]) {}

void PtyRing::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t offset = end_ % capacity_;
    const size_t piece = std::min(bytes.size(), capacity_ - offset);
    std::copy_n(bytes.begin(), piece, bytes_.get() + offset);
    end_ += piece;
    bytes = bytes.subspan(piece);
  }
  if (end_ - begin_ > capacity_) begin_ = end_ - capacity_;
}

size_t PtyRing::copy(uint64_t position, std::span<std::byte> out) const {
  const size_t total = std::min<uint64_t>(end_ - position, out.size());
  size_t done = 0;
  while (done < total) {
    const size_t offset = (position + done) % capacity_;
    const size_t piece = std::min(total - done, capacity_ - offset);
    std::copy_n(bytes_.get() + offset, piece, out.begin() + static_cast<ptrdiff_t>(done));
    done += piece;
  }
  return total;
}

uint64_t PtyRing::clean_begin() const {
  if (begin_ == 0) return 0;
  const uint64_t limit = std::min(end_, begin_ + kMaxLineBytes);
  for (uint64_t position = begin_; position < limit; position++) {
    if (at(position) == std::byte{'\n'}) return position + 1;
  }
  uint64_t position = begin_;
  while (position < end_ && continues_character(at(position))) position++;
  return position;
}

void PtyRing::shrink(size_t capacity_bytes) {
  if (capacity_bytes >= capacity_) return;
  PtyRing smaller(capacity_bytes);
  smaller.end_ = std::max(begin_, end_ - std::min<uint64_t>(end_, capacity_bytes));
  smaller.begin_ = smaller.end_;
  for (uint64_t position = smaller.begin_; position < end_; position++) {
    smaller.bytes_[position % capacity_bytes] = at(position);
  }
  smaller.end_ = end_;
  *this = std::move(smaller);
}

}  // namespace microvm::agent
