// Keeps a process's files from the program that it becomes. Only system calls: for a child between
// clone and exec, that shares its memory or its locks with other threads.
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace microvm::base {

namespace close_on_exec {

// The name of an entry of /proc/self/fd; -1: "." and "..".
inline int to_fd(const char* name) {
  int fd = 0;
  for (; *name != '\0'; ++name) {
    if (*name < '0' || *name > '9') return -1;
    fd = fd * 10 + (*name - '0');
  }
  return fd;
}

// struct linux_dirent64: u64 inode, s64 offset, u16 length, u8 type, then the name.
inline bool mark_listed(int directory, int first) {
  constexpr size_t kLengthAt = 16;
  constexpr size_t kNameAt = 19;
  std::array<char, 2048> entries{};
  while (true) {
    const long size = ::syscall(SYS_getdents64, directory, entries.data(), entries.size());
    if (size <= 0) return size == 0;
    for (long at = 0; at < size;) {
      const char* entry = entries.data() + at;
      uint16_t length = 0;
      std::memcpy(&length, entry + kLengthAt, sizeof length);
      const int fd = to_fd(entry + kNameAt);
      if (fd >= first && ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return false;
      at += length;
    }
  }
}

}  // namespace close_on_exec

// Of all fds from `first` on. Linux 5.11 has a call for it; before, or where a filter refuses that,
// /proc tells which are open. False: errno says why not.
inline bool close_on_exec_from(int first) {
  constexpr unsigned kCloseOnExec = 1u << 2;  // CLOSE_RANGE_CLOEXEC
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, kCloseOnExec) == 0) return true;
  const int directory = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  const bool marked = close_on_exec::mark_listed(directory, first);
  const int error = errno;
  ::close(directory);
  errno = error;
  return marked;
}

}  // namespace microvm::base
