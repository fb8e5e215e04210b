#include "state/memory_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "sys/file.hpp"

namespace microvm::state {
namespace {

// One write moves at most this much, so that a signal or a full disk is noticed soon.
constexpr size_t kMaxWriteBytes = size_t{4} << 20;

wire::ByteView page_at(wire::ByteView memory, size_t offset) {
  return memory.subspan(offset, kPageBytes);
}

// The length of the run of pages from `offset` on that are all zero, or all not zero.
size_t run_length(wire::ByteView memory, size_t offset, bool zero, size_t max) {
  size_t length = 0;
  while (offset + length < memory.size() && length < max &&
         is_zero(page_at(memory, offset + length)) == zero) {
    length += kPageBytes;
  }
  return length;
}

}  // namespace

bool is_zero(wire::ByteView bytes) noexcept {
  uint64_t any = 0;
  while (bytes.size() >= 64) {
    uint64_t words[8];
    std::memcpy(words, bytes.data(), sizeof words);
    for (const uint64_t word : words) any |= word;
    if (any != 0) return false;
    bytes = bytes.subspan(sizeof words);
  }
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

Result<void> make_sparse(int fd, uint64_t size) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("memory file");
  if (!S_ISREG(info.st_mode) || info.st_size != 0) {
    return base::fail(ErrorCode::invalid_argument, "memory file: not an empty regular file");
  }
  if (size > kMaxMemoryBytes) {
    return base::fail(ErrorCode::invalid_argument, "memory file: more than 1 TiB");
  }
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return base::fail_errno("memory file");
  return {};
}

Result<uint64_t> write_sparse(int fd, uint64_t offset, wire::ByteView memory) {
  uint64_t written = 0;
  size_t position = 0;
  while (position < memory.size()) {
    position += run_length(memory, position, true, memory.size());
    const size_t length = run_length(memory, position, false, kMaxWriteBytes);
    if (length == 0) continue;
    const auto done = sys::pwrite_full(fd, memory.subspan(position, length), offset + position);
    if (!done) return base::fail(done.error());
    position += length;
    written += length;
  }
  return written;
}

}  // namespace microvm::state
