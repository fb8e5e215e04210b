// The last bytes of a log, bounded: a guest that prints forever costs nothing more, and one that
// prints little a few pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "base/zeroed_bytes.hpp"
#include "wire/bytes.hpp"
#include "wire/log_size.hpp"

namespace microvm::vmm {

inline constexpr size_t kLogRingBytes = wire::kMaxLogBytes;

// All functions from any thread.
class LogRing {
 public:
  explicit LogRing(size_t capacity = kLogRingBytes) : buffer_(capacity) {}

  void append(wire::ByteView bytes);
  // What an earlier life has left, instead of what is there; its last byte stands before `end`.
  void load(wire::ByteView bytes, uint64_t end);

  // Copies what stands at stream position `position` and after; returns the position behind what
  // was copied. Bytes that were overwritten meanwhile are skipped.
  struct Chunk {
    uint64_t next = 0;
    size_t bytes = 0;
  };
  [[nodiscard]] Chunk read(uint64_t position, std::span<std::byte> out) const;

  [[nodiscard]] wire::Bytes contents() const;  // oldest first
  [[nodiscard]] uint64_t begin() const;        // position of the oldest byte still held
  [[nodiscard]] uint64_t end() const;          // bytes appended, in earlier lives too

 private:
  [[nodiscard]] uint64_t begin_locked() const;
  mutable std::mutex mutex_;
  void append_locked(wire::ByteView bytes);
  base::ZeroedBytes buffer_;
  uint64_t first_ = 0;  // nothing before it was ever there
  uint64_t end_ = 0;
};

// Finds one text in a stream that arrives in pieces of any size.
class TextDetector {
 public:
  explicit TextDetector(std::string_view text);  // not empty; text must outlive the detector
  void feed(wire::ByteView bytes);
  [[nodiscard]] bool found() const { return found_; }

 private:
  std::string_view text_;
  std::vector<uint32_t> fallback_;  // Knuth-Morris-Pratt
  uint32_t matched_ = 0;
  bool found_ = false;
};

inline constexpr std::string_view kPanicText = "Kernel panic - not syncing";

}  // namespace microvm::vmm
