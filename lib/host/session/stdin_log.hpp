// What was written to a program's stdin, for a stream that comes after the one it was written to:
// the last of it, and how much it was.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::host {

class StdinLog {
 public:
  // What the streams below hold at most, and more: so much may have been sent and not be taken.
  static constexpr size_t kKeptBytes = size_t{1} << 20;

  // Begins where the agent says that it is.
  void begin(uint64_t position) { end_ = position; }
  // `needed`: what comes from that position on is kept, however much it is.
  void append(wire::ByteView bytes, uint64_t needed = UINT64_MAX);
  // The last `count` bytes were not sent after all.
  void take_back(size_t count);

  [[nodiscard]] uint64_t end() const { return end_; }
  // From `position` on, at most `limit` bytes. Only of what is kept.
  [[nodiscard]] wire::ByteView from(uint64_t position, size_t limit) const;
  // Errors: invalid_argument, when what comes at `position` is not kept any more or was never
  // written.
  [[nodiscard]] Result<void> check(uint64_t position, const std::string& what) const;

 private:
  [[nodiscard]] uint64_t first() const { return end_ - kept_.size(); }

  wire::Bytes kept_;
  uint64_t end_ = 0;
};

}  // namespace microvm::host
