// Walks through a list of buffers piece by piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "vmm/disk/disk_engine.hpp"

namespace microvm::vmm {

class DiskEngine::Cursor {
 public:
  explicit Cursor(std::span<const iovec> buffers) : buffers_(buffers) {}

  // Adds the next `length` bytes to `out`, what is contiguous in memory as one buffer; fewer where
  // the buffers end.
  void take(uint64_t length, std::vector<iovec>& out) {
    while (length > 0 && !buffers_.empty()) {
      const iovec& buffer = buffers_.front();
      const uint64_t size = std::min<uint64_t>(length, buffer.iov_len - used_);
      if (size > 0) add(out, {static_cast<std::byte*>(buffer.iov_base) + used_, size});
      length -= size;
      used_ += size;
      if (used_ == buffer.iov_len) {
        buffers_ = buffers_.subspan(1);
        used_ = 0;
      }
    }
  }

 private:
  static void add(std::vector<iovec>& out, const iovec& piece) {
    if (!out.empty()) {
      iovec& last = out.back();
      if (static_cast<std::byte*>(last.iov_base) + last.iov_len == piece.iov_base) {
        last.iov_len += piece.iov_len;
        return;
      }
    }
    out.push_back(piece);
  }

  std::span<const iovec> buffers_;
  size_t used_ = 0;  // of the first
};

}  // namespace microvm::vmm
