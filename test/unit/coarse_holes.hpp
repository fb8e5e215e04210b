// A file system whose blocks are larger than a page: what it says of holes and data is of whole
// blocks. Stands before the C library's lseek(), for the whole test program.
#pragma once

#include <cstdint>

namespace microvm::test {

// One at a time. For all threads and files, while it lives.
class CoarseHoles {
 public:
  explicit CoarseHoles(uint64_t block_bytes);
  ~CoarseHoles();
  CoarseHoles(const CoarseHoles&) = delete;
  CoarseHoles& operator=(const CoarseHoles&) = delete;
};

}  // namespace microvm::test
