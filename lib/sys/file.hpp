// Files: whole reads and writes, atomic replacement, holes, locks, mappings. Every call retries
// EINTR and short counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::sys {

// Flags as for openat(); O_CLOEXEC is added. The message names the path.
Result<base::Fd> open_at(int directory_fd, const std::string& path, int flags,
                         unsigned mode = 0600);
// A private unnamed file in a directory; link_file() gives it a name.
Result<base::Fd> open_unnamed(int directory_fd);
Result<void> link_file(int fd, int directory_fd, const std::string& name);
// An unnamed file in memory.
Result<base::Fd> memory_file(const std::string& name, uint64_t size = 0);

// The same open file under another fd; `what` begins the message.
Result<base::Fd> duplicate(int fd, const std::string& what);

Result<uint64_t> file_size(int fd);
// Error invalid_argument unless the fd is a regular file.
Result<void> check_regular_file(int fd, const std::string& what);

// The whole range, or an error: corrupt when the file ends before it.
Result<void> pread_full(int fd, std::span<std::byte> out, uint64_t offset);
Result<void> pwrite_full(int fd, std::span<const std::byte> in, uint64_t offset);
// For streams: until everything is written.
Result<void> write_full(int fd, std::span<const std::byte> in);
// From the current position to the end. Error: corrupt when there is more than `max_bytes`.
Result<std::vector<std::byte>> read_all(int fd, size_t max_bytes);
Result<std::vector<std::byte>> read_file(int directory_fd, const std::string& path,
                                         size_t max_bytes);

// After return (and after any crash) the name holds either its old content or all of the new.
Result<void> write_file_atomic(int directory_fd, const std::string& name,
                               std::span<const std::byte> bytes, unsigned mode = 0600);
Result<void> sync_file(int fd);
Result<void> sync_directory(int directory_fd);

// Room for what will be written there, where the file system can do that ahead; holes stay holes.
Result<void> allocate(int fd, uint64_t offset, uint64_t length);
Result<void> punch_hole(int fd, uint64_t offset, uint64_t length);
// Calls `visit` for each range of the file that holds data, in order; a file system without holes
// has one. An error of `visit` ends the walk.
Result<void> for_each_data_range(
    int fd, const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit);

// flock(): belongs to the open file, so a child that inherits the fd keeps it. Error: busy.
enum class LockMode { shared, exclusive };
Result<void> try_lock_file(int fd, LockMode mode);

// A mapping, unmapped at its end.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  static Result<Mapping> read_only(int fd, uint64_t offset, size_t length);
  static Result<Mapping> read_write_shared(int fd, uint64_t offset, size_t length);

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
  static Result<Mapping> map(int fd, uint64_t offset, size_t length, int protection, int flags);
  std::span<std::byte> bytes_;
};

}  // namespace microvm::sys
