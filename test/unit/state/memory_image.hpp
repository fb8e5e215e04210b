// Files in memory with holes and data, for the tests of this folder.
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>

#include <random>

#include "base/fd.hpp"
#include "state/memory_file.hpp"
#include "sys/file.hpp"

namespace microvm::state::test {

inline base::Fd empty_file() {
  return base::Fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

inline wire::Bytes content_of(int fd) {
  struct stat info{};
  ::fstat(fd, &info);
  wire::Bytes bytes(static_cast<size_t>(info.st_size));
  if (!sys::pread_full(fd, bytes, 0)) bytes.clear();
  return bytes;
}

inline uint64_t allocated_bytes(int fd) {
  struct stat info{};
  ::fstat(fd, &info);
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

// Pages of zeros, of repeated text and of random bytes in turn.
inline wire::Bytes mixed_memory(size_t pages) {
  wire::Bytes memory(pages * kPageBytes);
  std::mt19937 random(7);
  for (size_t page = 0; page < pages; ++page) {
    for (size_t i = 0; i < kPageBytes; ++i) {
      std::byte& byte = memory[page * kPageBytes + i];
      if (page % 5 == 1) byte = static_cast<std::byte>(random());
      if (page % 5 == 2) byte = static_cast<std::byte>('a' + i % 7);
    }
  }
  return memory;
}

}  // namespace microvm::state::test
