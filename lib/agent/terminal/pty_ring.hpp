// The recent output of a terminal. Positions count the bytes since the program's start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace microvm::agent {

class PtyRing {
 public:
  explicit PtyRing(size_t capacity_bytes);

  // The oldest bytes make room.
  void append(std::span<const std::byte> bytes);

  [[nodiscard]] uint64_t begin() const { return begin_; }
  [[nodiscard]] uint64_t end() const { return end_; }
  // What there is from `position` on, which is between begin() and end(), as far as `out` goes.
  [[nodiscard]] size_t copy(uint64_t position, std::span<std::byte> out) const;

  // Where a new reader starts: what is left of a line, of an escape sequence or of a character
  // whose beginning was overwritten would garble its screen.
  [[nodiscard]] uint64_t clean_begin() const;

  // Lets go of memory and of all but the last bytes.
  void shrink(size_t capacity_bytes);

 private:
  [[nodiscard]] std::byte at(uint64_t position) const { return bytes_[position % capacity_]; }

  size_t capacity_;
  std::unique_ptr<std::byte[]> bytes_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace microvm::agent
