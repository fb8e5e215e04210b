#include "agent/base/file.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

namespace microvm::agent {
namespace {

bool is_regular(int fd) {
  struct stat status{};
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

Outcome<std::string> read_up_to(int fd, const char* path, size_t limit) {
  std::string content;
  char chunk[4096];
  for (;;) {
    const ssize_t count = read(fd, chunk, sizeof chunk);
    if (count < 0) return fail_errno(path);
    if (count == 0) return content;
    content.append(chunk, static_cast<size_t>(count));
    if (content.size() > limit) return fail_errno(path, EFBIG);
  }
}

}  // namespace

base::Fd open_in_root(int root, const char* path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return base::Fd(static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof how)));
}

Outcome<std::string> read_file(int root, const char* path, size_t limit) {
  // O_NONBLOCK: opening a pipe that nobody writes must not block.
  const base::Fd fd = open_in_root(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) return fail_errno(path);
  if (!is_regular(fd.get())) return fail(std::string(path) + ": not a regular file", EINVAL);
  return read_up_to(fd.get(), path, limit);
}

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t count = write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    content.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

Outcome<void> write_file_at(int directory, const char* path, std::string_view content) {
  const base::Fd fd(openat(directory, path, O_WRONLY | O_CLOEXEC));
  if (!fd || !write_all(fd.get(), content)) return fail_errno(path);
  return {};
}

Outcome<void> write_file(const char* path, std::string_view content) {
  return write_file_at(AT_FDCWD, path, content);
}

Outcome<void> replace_file(int root, const char* directory, const char* name,
                           std::string_view content, uint32_t mode) {
  const base::Fd parent = open_in_root(root, directory, O_PATH | O_DIRECTORY);
  if (!parent) return fail_errno(directory);
  const std::string temporary = std::string(".") + name + ".microvm";
  unlinkat(parent.get(), temporary.c_str(), 0);
  const base::Fd fd(openat(parent.get(), temporary.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (fd && fchmod(fd.get(), mode) == 0 && write_all(fd.get(), content) &&
      renameat(parent.get(), temporary.c_str(), parent.get(), name) == 0)
    return {};
  const int error = errno;
  if (fd) unlinkat(parent.get(), temporary.c_str(), 0);
  return fail_errno(name, error);
}

}  // namespace microvm::agent
