// An owned file descriptor: closed once, moved, never copied.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace microvm::base {

// The same file above 0, 1 and 2; -1 with errno set when there is no room. Those three mean
// something to all that prints, reads or redirects in a process, also in one that was started
// without them: there the first file that is opened would be taken for its output.
inline int above_standard_streams(int fd) noexcept {
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  ::close(fd);
  errno = error;
  return moved;
}

// Never 0, 1 or 2: what is given to it there is moved.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(above_standard_streams(fd)) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  explicit operator bool() const noexcept { return valid(); }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    fd = above_standard_streams(fd);
    if (const int old = std::exchange(fd_, fd); old >= 0 && old != fd) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace microvm::base
