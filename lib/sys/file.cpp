#include "sys/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace microvm::sys {
namespace {

// Repeats `transfer(done)` until `total` bytes are moved; 0 means the end came first.
template <class Transfer>
Result<size_t> move_all(const char* what, size_t total, Transfer transfer) {
  size_t done = 0;
  while (done < total) {
    const ssize_t moved = transfer(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return base::fail_errno(what);
    if (moved == 0) break;
    done += static_cast<size_t>(moved);
  }
  return done;
}

std::string temporary_name(const std::string& name) {
  uint64_t salt = 0;
  [[maybe_unused]] const ssize_t got = ::getrandom(&salt, sizeof salt, GRND_NONBLOCK);
  char text[24];
  std::snprintf(text, sizeof text, "%016" PRIx64, salt);
  return "." + name + "." + text + ".tmp";
}

Result<void> fill_and_rename(int directory_fd, const std::string& temporary,
                             const std::string& name, int fd, std::span<const std::byte> bytes) {
  if (auto written = pwrite_full(fd, bytes, 0); !written) return written;
  if (auto synced = sync_file(fd); !synced) return synced;
  if (::renameat(directory_fd, temporary.c_str(), directory_fd, name.c_str()) != 0) {
    return base::fail_errno("rename to " + name);
  }
  return sync_directory(directory_fd);
}

}  // namespace

Result<base::Fd> open_at(int directory_fd, const std::string& path, int flags, unsigned mode) {
  base::Fd fd(::openat(directory_fd, path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return base::fail_errno("open " + path);
  return fd;
}

Result<base::Fd> open_unnamed(int directory_fd) {
  base::Fd fd(::openat(directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) return base::fail_errno("open unnamed file");
  return fd;
}

Result<void> link_file(int fd, int directory_fd, const std::string& name) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  if (::linkat(AT_FDCWD, path.c_str(), directory_fd, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return base::fail_errno("name file " + name);
  }
  return {};
}

// Never a program, and said so: a host may refuse one that does not (vm.memfd_noexec, Linux 6.3).
// The flag makes a file that takes seals, which is of no use to whom we give it.
Result<base::Fd> memory_file(const std::string& name, uint64_t size) {
  base::Fd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_NOEXEC_SEAL));
  if (fd && ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL) != 0) return base::fail_errno("seal file");
  if (!fd && errno == EINVAL) fd.reset(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!fd) return base::fail_errno("create memory file " + name);
  if (size > 0 && ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    return base::fail_errno("size memory file " + name);
  }
  return fd;
}

Result<base::Fd> duplicate(int fd, const std::string& what) {
  base::Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) return base::fail_errno(what);
  return copy;
}

Result<uint64_t> file_size(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return base::fail_errno("stat file");
  return static_cast<uint64_t>(status.st_size);
}

Result<void> check_regular_file(int fd, const std::string& what) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return base::fail_errno("stat " + what);
  if (S_ISREG(status.st_mode)) return {};
  return base::fail(ErrorCode::invalid_argument, what + " is not a regular file");
}

Result<void> pread_full(int fd, std::span<std::byte> out, uint64_t offset) {
  const auto done = move_all("read file", out.size(), [&](size_t at) {
    return ::pread(fd, out.data() + at, out.size() - at, static_cast<off_t>(offset + at));
  });
  if (!done) return base::fail(done.error());
  if (*done == out.size()) return {};
  return base::fail(ErrorCode::corrupt, "read file: it is shorter than expected");
}

Result<void> pwrite_full(int fd, std::span<const std::byte> in, uint64_t offset) {
  const auto done = move_all("write file", in.size(), [&](size_t at) {
    return ::pwrite(fd, in.data() + at, in.size() - at, static_cast<off_t>(offset + at));
  });
  if (!done) return base::fail(done.error());
  if (*done == in.size()) return {};
  return base::fail(ErrorCode::io, "write file: nothing was written");
}

Result<void> write_full(int fd, std::span<const std::byte> in) {
  const auto done = move_all(
      "write", in.size(), [&](size_t at) { return ::write(fd, in.data() + at, in.size() - at); });
  if (!done) return base::fail(done.error());
  return {};
}

Result<std::vector<std::byte>> read_all(int fd, size_t max_bytes) {
  constexpr size_t kStep = size_t{64} * 1024;
  std::vector<std::byte> bytes;
  while (true) {
    const size_t before = bytes.size();
    // One byte more than allowed shows that there is too much.
    const size_t room = std::min(kStep, max_bytes - before + 1);
    bytes.resize(before + room);
    const auto got = move_all("read file", room, [&](size_t at) {
      return ::read(fd, bytes.data() + before + at, room - at);
    });
    if (!got) return base::fail(got.error());
    bytes.resize(before + *got);
    if (bytes.size() > max_bytes) {
      return base::fail(ErrorCode::corrupt,
                        "read file: longer than " + std::to_string(max_bytes) + " bytes");
    }
    if (*got < room) return bytes;
  }
}

Result<std::vector<std::byte>> read_file(int directory_fd, const std::string& path,
                                         size_t max_bytes) {
  const auto fd = open_at(directory_fd, path, O_RDONLY);
  if (!fd) return base::fail(fd.error());
  auto bytes = read_all(fd->get(), max_bytes);
  if (!bytes) return base::fail(bytes.error().code, path + ": " + bytes.error().message);
  return bytes;
}

Result<void> write_file_atomic(int directory_fd, const std::string& name,
                               std::span<const std::byte> bytes, unsigned mode) {
  const std::string temporary = temporary_name(name);
  const auto fd = open_at(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (!fd) return base::fail(fd.error());
  auto done = fill_and_rename(directory_fd, temporary, name, fd->get(), bytes);
  if (done) return {};
  ::unlinkat(directory_fd, temporary.c_str(), 0);
  return base::fail(done.error().code, "write " + name + ": " + done.error().message);
}

Result<void> sync_file(int fd) {
  if (::fdatasync(fd) != 0) return base::fail_errno("sync file");
  return {};
}

Result<void> sync_directory(int directory_fd) {
  if (::fsync(directory_fd) != 0) return base::fail_errno("sync directory");
  return {};
}

Result<void> allocate(int fd, uint64_t offset, uint64_t length) {
  while (::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    if (errno == EOPNOTSUPP) return {};
    if (errno != EINTR) return base::fail_errno("allocate file");
  }
  return {};
}

Result<void> punch_hole(int fd, uint64_t offset, uint64_t length) {
  constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (length == 0) return {};
  if (::fallocate(fd, kMode, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
    return base::fail_errno("punch hole");
  }
  return {};
}

Result<void> for_each_data_range(
    int fd, const std::function<Result<void>(uint64_t offset, uint64_t length)>& visit) {
  off_t at = 0;
  while (true) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};  // no data from here to the end
    if (data < 0) return base::fail_errno("find data in file");
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return base::fail_errno("find hole in file");
    if (auto visited = visit(static_cast<uint64_t>(data), static_cast<uint64_t>(hole - data));
        !visited) {
      return visited;
    }
    at = hole;
  }
}

Result<void> try_lock_file(int fd, LockMode mode) {
  const int operation = (mode == LockMode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  while (::flock(fd, operation) != 0) {
    if (errno == EWOULDBLOCK) return base::fail(ErrorCode::busy, "lock file: another holds it");
    if (errno != EINTR) return base::fail_errno("lock file");
  }
  return {};
}

}  // namespace microvm::sys
