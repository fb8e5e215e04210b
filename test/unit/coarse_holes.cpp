#include "unit/coarse_holes.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace microvm::test {
namespace {

std::atomic<uint64_t> coarse_block{0};

off64_t exact_seek(int fd, off64_t offset, int whence) {
  static const auto real =
      reinterpret_cast<off64_t (*)(int, off64_t, int)>(::dlsym(RTLD_NEXT, "lseek64"));
  return real(fd, offset, whence);
}

// The first data at or after `offset`: of a block that holds any, every byte is.
off64_t next_data(int fd, off64_t offset, off64_t block) {
  const off64_t begin = offset / block * block;
  const off64_t exact = exact_seek(fd, begin, SEEK_DATA);
  return exact < 0 ? exact : std::max(offset, exact / block * block);
}

off64_t next_hole(int fd, off64_t offset, off64_t block) {
  const off64_t end = exact_seek(fd, 0, SEEK_END);
  while (offset < end && next_data(fd, offset, block) == offset) {
    offset = (offset / block + 1) * block;
  }
  return std::min(offset, end);
}

}  // namespace

CoarseHoles::CoarseHoles(uint64_t block_bytes) {
  coarse_block = block_bytes;
}

CoarseHoles::~CoarseHoles() {
  coarse_block = 0;
}

off64_t coarse_seek(int fd, off64_t offset, int whence) {
  const auto block = static_cast<off64_t>(coarse_block.load());
  if (block == 0) return exact_seek(fd, offset, whence);
  if (whence == SEEK_DATA) return next_data(fd, offset, block);
  if (whence == SEEK_HOLE) return next_hole(fd, offset, block);
  return exact_seek(fd, offset, whence);
}

}  // namespace microvm::test

extern "C" off64_t lseek64(int fd, off64_t offset, int whence) noexcept {
  return microvm::test::coarse_seek(fd, offset, whence);
}
