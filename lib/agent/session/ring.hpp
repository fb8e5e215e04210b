// The recent output of a program. Positions count the bytes since its start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace microvm::agent {

enum class OutputStream : uint8_t { out, err };

class Ring {
 public:
  // Of both streams in the order they were read, or of one.
  enum class Streams : uint8_t { one, both };
  explicit Ring(size_t capacity_bytes, Streams streams = Streams::one);

  // The oldest bytes make room.
  void append(std::span<const std::byte> bytes, OutputStream stream = OutputStream::out);

  [[nodiscard]] uint64_t begin() const { return begin_; }
  [[nodiscard]] uint64_t end() const { return end_; }
  [[nodiscard]] size_t capacity() const { return capacity_; }

  struct Piece {
    size_t size = 0;
    OutputStream stream = OutputStream::out;
  };
  // What there is of one stream from `position` on, which is between begin() and end(), as far as
  // `out` goes.
  [[nodiscard]] Piece copy(uint64_t position, std::span<std::byte> out) const;

  // Where a new reader starts. A screen would be garbled by what is left of a line, of an escape
  // sequence or of a character whose beginning was overwritten; of two streams every byte counts.
  [[nodiscard]] uint64_t clean_begin() const;

  // Lets go of memory and of all but the last bytes.
  void shrink(size_t capacity_bytes);

 private:
  [[nodiscard]] std::byte at(uint64_t position) const { return bytes_[position % capacity_]; }
  // One bit for each byte: whatever a program does with its two streams, this is what it costs.
  void mark(size_t offset, size_t count, OutputStream stream);
  [[nodiscard]] OutputStream stream_at(size_t offset) const;
  [[nodiscard]] size_t same_stream(size_t offset, size_t limit) const;

  size_t capacity_;
  std::unique_ptr<std::byte[]> bytes_;
  std::unique_ptr<uint64_t[]> is_err_;  // none: there is one stream
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace microvm::agent
