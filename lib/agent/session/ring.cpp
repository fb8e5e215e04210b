#include "agent/session/ring.hpp"

#include <algorithm>
#include <bit>

namespace microvm::agent {
namespace {

// No line of a terminal is longer, as a rule; then only a whole character is looked for.
constexpr uint64_t kMaxLineBytes = 4096;
constexpr size_t kWordBits = 64;

bool continues_character(std::byte byte) {
  return (byte & std::byte{0xC0}) == std::byte{0x80};
}

// `count` bits from `bit` on; they are in one word.
uint64_t bits_of(size_t bit, size_t count) {
  const uint64_t ones = count == kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  return ones << bit;
}

size_t words_for(size_t bits) {
  return (bits + kWordBits - 1) / kWordBits;
}

}  // namespace

// Not filled, so that memory is only had for what was written.
Ring::Ring(size_t capacity_bytes, Streams streams)
    : capacity_(capacity_bytes), bytes_(new std::byte[capacity_bytes]) {
  if (streams == Streams::both) is_err_ = std::make_unique<uint64_t[]>(words_for(capacity_bytes));
}

void Ring::append(std::span<const std::byte> bytes, OutputStream stream) {
  while (!bytes.empty()) {
    const size_t offset = end_ % capacity_;
    const size_t piece = std::min(bytes.size(), capacity_ - offset);
    std::copy_n(bytes.begin(), piece, bytes_.get() + offset);
    if (is_err_) mark(offset, piece, stream);
    end_ += piece;
    bytes = bytes.subspan(piece);
  }
  if (end_ - begin_ > capacity_) begin_ = end_ - capacity_;
}

void Ring::mark(size_t offset, size_t count, OutputStream stream) {
  while (count > 0) {
    const size_t bit = offset % kWordBits;
    const size_t here = std::min(count, kWordBits - bit);
    uint64_t& word = is_err_[offset / kWordBits];
    const uint64_t mask = bits_of(bit, here);
    word = stream == OutputStream::err ? word | mask : word & ~mask;
    offset += here;
    count -= here;
  }
}

OutputStream Ring::stream_at(size_t offset) const {
  if (!is_err_) return OutputStream::out;
  const bool is_err = (is_err_[offset / kWordBits] >> offset % kWordBits & 1) != 0;
  return is_err ? OutputStream::err : OutputStream::out;
}

// How many bytes from `offset` on, at most `limit` of them and not past the end of the memory, are
// of the stream of the first.
size_t Ring::same_stream(size_t offset, size_t limit) const {
  limit = std::min(limit, capacity_ - offset);
  if (!is_err_) return limit;
  const bool is_err = stream_at(offset) == OutputStream::err;
  size_t count = 0;
  while (count < limit) {
    const size_t bit = (offset + count) % kWordBits;
    const uint64_t word = is_err_[(offset + count) / kWordBits] >> bit;
    const size_t same = std::min<size_t>(
        static_cast<size_t>(is_err ? std::countr_one(word) : std::countr_zero(word)),
        kWordBits - bit);
    count += same;
    if (same < kWordBits - bit) break;
  }
  return std::min(count, limit);
}

Ring::Piece Ring::copy(uint64_t position, std::span<std::byte> out) const {
  Piece piece{.size = 0, .stream = stream_at(position % capacity_)};
  size_t limit = std::min<uint64_t>(out.size(), end_ - position);
  while (limit > 0) {
    const size_t offset = (position + piece.size) % capacity_;
    if (stream_at(offset) != piece.stream) break;
    const size_t count = same_stream(offset, limit);
    std::copy_n(bytes_.get() + offset, count, out.begin() + static_cast<ptrdiff_t>(piece.size));
    piece.size += count;
    limit -= count;
  }
  return piece;
}

uint64_t Ring::clean_begin() const {
  if (begin_ == 0 || is_err_) return begin_;
  const uint64_t limit = std::min(end_, begin_ + kMaxLineBytes);
  for (uint64_t position = begin_; position < limit; position++) {
    if (at(position) == std::byte{'\n'}) return position + 1;
  }
  uint64_t position = begin_;
  while (position < end_ && continues_character(at(position))) position++;
  return position;
}

void Ring::shrink(size_t capacity_bytes) {
  if (capacity_bytes >= capacity_) return;
  Ring smaller(capacity_bytes, is_err_ ? Streams::both : Streams::one);
  const uint64_t kept = std::min<uint64_t>(end_ - begin_, capacity_bytes);
  smaller.begin_ = smaller.end_ = end_ - kept;
  while (smaller.end_ < end_) {
    const size_t offset = smaller.end_ % capacity_;
    const size_t count = same_stream(offset, end_ - smaller.end_);
    smaller.append({bytes_.get() + offset, count}, stream_at(offset));
  }
  *this = std::move(smaller);
}

}  // namespace microvm::agent
