#include "state/memory_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

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

Result<std::vector<FileRange>> data_ranges(int fd, uint64_t size) {
  std::vector<FileRange> ranges;
  uint64_t position = 0;
  while (position < size) {
    const off_t data = ::lseek(fd, static_cast<off_t>(position), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only hole until the end
    if (data < 0 && errno == EINVAL) return std::vector{FileRange{0, size}};
    if (data < 0) return base::fail_errno("find data in the memory file");
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return base::fail_errno("find holes in the memory file");
    const uint64_t begin = static_cast<uint64_t>(data) & ~uint64_t{kPageBytes - 1};
    const uint64_t end =
        std::min((static_cast<uint64_t>(hole) + kPageBytes - 1) & ~uint64_t{kPageBytes - 1}, size);
    if (end <= begin || begin < position) break;  // the file shrank meanwhile
    ranges.push_back({begin, end - begin});
    position = end;
  }
  return ranges;
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
    const auto done = write_fully(fd, memory.subspan(position, length), offset + position);
    if (!done) return base::fail(done.error());
    position += length;
    written += length;
  }
  return written;
}

Result<void> read_fully(int fd, std::span<std::byte> out, uint64_t offset) {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail_errno("read the memory file");
    if (got == 0) return base::fail(ErrorCode::corrupt, "memory file: ends early");
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<void> write_fully(int fd, wire::ByteView bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return base::fail_errno("write the memory file");
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

}  // namespace microvm::state
