#include "agent/files/replacement.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "agent/base/time.hpp"

namespace microvm::agent {

timespec time_of_ns(int64_t ns) {
  int64_t seconds = ns / kNsPerSecond;
  int64_t nanoseconds = ns % kNsPerSecond;
  if (nanoseconds < 0) {
    seconds--;
    nanoseconds += kNsPerSecond;
  }
  return {.tv_sec = seconds, .tv_nsec = nanoseconds};
}

bool set_attributes(int fd, const Attributes& attributes) {
  return fchown(fd, attributes.uid, attributes.gid) == 0 && fchmod(fd, attributes.mode) == 0;
}

Replacement::Replacement(const Place& place, std::string shown)
    : place_(place), shown_(std::move(shown)) {
  // One name per thread: nobody else makes such names.
  name_ = ".microvm-put-" + std::to_string(gettid());
  unlinkat(place_.parent.get(), name_.c_str(), 0);
}

// After a commit the name is free, but for two links to one file: renaming those does nothing.
Replacement::~Replacement() {
  unlinkat(place_.parent.get(), name_.c_str(), 0);
}

Outcome<base::Fd> Replacement::create() const {
  base::Fd file(openat(place_.parent.get(), name(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return failed();
  return file;
}

Outcome<void> Replacement::commit(Existing existing) {
  const int parent = place_.parent.get();
  const unsigned flags = existing == Existing::kept ? RENAME_NOREPLACE : 0;
  if (renameat2(parent, name(), parent, place_.name.c_str(), flags) != 0) return failed();
  return {};
}

tl::unexpected<Failed> Replacement::failed(int error) const {
  return fail_errno(shown_, error);
}

}  // namespace microvm::agent
