// One file operation of a loop. Partial transfers are continued here, so a handler sees a short
// count only at the end of a file.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "sys/loop.hpp"

namespace microvm::sys {

struct FileOp {
  enum class Kind : uint8_t { read, write, sync };
  static constexpr size_t kMaxBuffers = 1024;  // IOV_MAX of Linux

  Kind kind = Kind::read;
  int fd = -1;
  uint64_t offset = 0;
  int64_t moved = 0;
  size_t next = 0;  // first buffer not yet filled or written
  std::vector<iovec> buffers;
  Loop::IoHandler done;

  // A copy of the list is kept: the caller's may go away before the kernel reads it.
  void start(Kind kind_, int fd_, std::span<const iovec> list, uint64_t offset_,
             Loop::IoHandler done_) {
    kind = kind_;
    fd = fd_;
    offset = offset_;
    moved = 0;
    next = 0;
    buffers.assign(list.begin(), list.end());
    done = std::move(done_);
    skip_empty();
  }

  [[nodiscard]] std::span<iovec> rest() {
    const std::span<iovec> left = std::span(buffers).subspan(next);
    return left.first(std::min(left.size(), kMaxBuffers));
  }

  // Counts a result of the kernel; true when the operation goes on.
  bool advance(int64_t result) {
    if (result <= 0 || kind == Kind::sync) return false;
    moved += result;
    offset += static_cast<uint64_t>(result);
    auto left = static_cast<size_t>(result);
    while (next < buffers.size() && left >= buffers[next].iov_len) {
      left -= buffers[next].iov_len;
      ++next;
    }
    if (next == buffers.size()) return false;
    buffers[next].iov_base = static_cast<char*>(buffers[next].iov_base) + left;
    buffers[next].iov_len -= left;
    return true;
  }

 private:
  void skip_empty() {
    while (next < buffers.size() && buffers[next].iov_len == 0) ++next;
  }
};

}  // namespace microvm::sys
