#include "vmm/platform/log_ring.hpp"

#include <algorithm>
#include <cstring>

namespace microvm::vmm {

void LogRing::append(wire::ByteView bytes) {
  const std::scoped_lock lock(mutex_);
  append_locked(bytes);
}

void LogRing::load(wire::ByteView bytes, uint64_t end) {
  const std::scoped_lock lock(mutex_);
  first_ = end_ = end - std::min<uint64_t>(end, bytes.size());
  append_locked(bytes);
}

void LogRing::append_locked(wire::ByteView bytes) {
  const size_t capacity = buffer_.size();
  if (bytes.size() > capacity) {
    end_ += bytes.size() - capacity;
    bytes = bytes.last(capacity);
  }
  const size_t at = end_ % capacity;
  const size_t first = std::min(bytes.size(), capacity - at);
  const std::span into = buffer_.span();
  std::ranges::copy(bytes.first(first), into.begin() + static_cast<ptrdiff_t>(at));
  std::ranges::copy(bytes.subspan(first), into.begin());
  end_ += bytes.size();
}

uint64_t LogRing::begin_locked() const {
  return std::max(first_, end_ - std::min<uint64_t>(end_, buffer_.size()));
}

LogRing::Chunk LogRing::read(uint64_t position, std::span<std::byte> out) const {
  const std::scoped_lock lock(mutex_);
  const uint64_t from = std::clamp(position, begin_locked(), end_);
  const size_t count = std::min<uint64_t>(out.size(), end_ - from);
  for (size_t i = 0; i < count; ++i) out[i] = buffer_.span()[(from + i) % buffer_.size()];
  return {.next = from + count, .bytes = count};
}

wire::Bytes LogRing::contents() const {
  wire::Bytes out(buffer_.size());
  out.resize(read(0, out).bytes);
  return out;
}

uint64_t LogRing::begin() const {
  const std::scoped_lock lock(mutex_);
  return begin_locked();
}

uint64_t LogRing::end() const {
  const std::scoped_lock lock(mutex_);
  return end_;
}

TextDetector::TextDetector(std::string_view text) : text_(text), fallback_(text.size()) {
  uint32_t matched = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (matched > 0 && text[i] != text[matched]) matched = fallback_[matched - 1];
    if (text[i] == text[matched]) ++matched;
    fallback_[i] = matched;
  }
}

void TextDetector::feed(wire::ByteView bytes) {
  for (const std::byte byte : bytes) {
    if (found_) return;
    const char c = std::to_integer<char>(byte);
    while (matched_ > 0 && c != text_[matched_]) matched_ = fallback_[matched_ - 1];
    if (c == text_[matched_]) ++matched_;
    found_ = matched_ == text_.size();
  }
}

}  // namespace microvm::vmm
