#include "host/store/entry_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <thread>

#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;
using std::filesystem::path;

namespace {

int flock_retrying(int fd, int operation) {
  int result = 0;
  do {
    result = ::flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result;
}

// False when the entry was renamed away or swapped between open and lock.
bool still_there(int fd, const path& file) {
  struct stat locked{};
  struct stat named{};
  return ::fstat(fd, &locked) == 0 && ::stat(file.c_str(), &named) == 0 &&
         locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

Result<base::Fd> lock_entry(const path& dir, const std::string& what, int operation) {
  const path file = dir / kInUseFile;
  constexpr int kMaxSwaps = 16;
  for (int attempt = 0; attempt < kMaxSwaps; ++attempt) {
    base::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd && errno == ENOENT) return fail(ErrorCode::not_found, what + ": not found");
    if (!fd) return fail_errno("open " + file.string());
    if (flock_retrying(fd.get(), operation) != 0) {
      if (errno == EWOULDBLOCK) return fail(ErrorCode::busy, what + ": is in use");
      return fail_errno("lock " + file.string());
    }
    if (still_there(fd.get(), file)) return fd;
  }
  return fail(ErrorCode::busy, what + ": is being replaced");
}

}  // namespace

Result<base::Fd> lock_entry_shared(const path& dir, const std::string& what) {
  return lock_entry(dir, what, LOCK_SH);
}

Result<base::Fd> lock_entry_exclusive(const path& dir, const std::string& what) {
  return lock_entry(dir, what, LOCK_EX | LOCK_NB);
}

Result<HeldLock> lock_names(const path& dir, const MayGoOn& may_go_on) {
  constexpr std::chrono::milliseconds kTryAgain{5};
  auto fd = open_file(dir / ".lock", O_RDWR | O_CREAT, 0600);
  if (!fd) return fail(fd.error());
  while (flock_retrying(fd->get(), may_go_on ? LOCK_EX | LOCK_NB : LOCK_EX) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno("lock " + dir.string());
    if (auto ok = may_go_on(); !ok) return fail(ok.error());
    std::this_thread::sleep_for(kTryAgain);
  }
  return hold_until_dropped(std::move(*fd));
}

}  // namespace microvm::host
