#include "agent/boot/mounts.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace microvm::agent {
namespace {

struct Mount {
  const char* type;
  const char* path;
  unsigned long flags;
  const char* options;
};

constexpr unsigned long kInert = MS_NOSUID | MS_NODEV | MS_NOEXEC;

constexpr Mount kEarly[] = {
    {"proc", "/proc", kInert, nullptr},
    {"sysfs", "/sys", kInert, nullptr},
    {"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
};

// /run and /tmp stay on the disk, as with docker: what a Dockerfile puts there is there.
constexpr Mount kLate[] = {
    {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
    {"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"},
    {"mqueue", "/dev/mqueue", kInert, nullptr},
};

// For programs that look into the kernel or extend it; a kernel may have none of them.
constexpr Mount kOfKernel[] = {
    {"bpf", "/sys/fs/bpf", kInert, "mode=700"},
    {"tracefs", "/sys/kernel/tracing", kInert, nullptr},
    {"debugfs", "/sys/kernel/debug", kInert, nullptr},
};

struct Link {
  const char* path;
  const char* target;
};

constexpr Link kDeviceLinks[] = {
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
};

// A link where a directory belongs would lead the mount elsewhere.
Outcome<void> make_directory(const char* path) {
  struct stat status{};
  if (mkdir(path, 0755) == 0) return {};
  if (errno != EEXIST) return fail_errno(path);
  if (lstat(path, &status) != 0) return fail_errno(path);
  if (!S_ISDIR(status.st_mode)) return fail_errno(path, ENOTDIR);
  return {};
}

Outcome<void> mount_one(const Mount& what) {
  if (auto made = make_directory(what.path); !made) return made;
  if (mount(what.type, what.path, what.type, what.flags, what.options) != 0)
    return fail_errno(std::string("mount ") + what.path);
  return {};
}

}  // namespace

Outcome<void> mount_early() {
  for (const auto& what : kEarly) {
    auto mounted = mount_one(what);
    // A kernel with DEVTMPFS_MOUNT has done it.
    if (!mounted && mounted.error().error != EBUSY) return mounted;
  }
  return {};
}

Outcome<void> move_early_mounts(const char* new_root) {
  for (const auto& what : kEarly) {
    const std::string target = std::string(new_root) + what.path;
    if (auto made = make_directory(target.c_str()); !made) return made;
    if (mount(what.path, target.c_str(), nullptr, MS_MOVE, nullptr) != 0)
      return fail_errno("move " + target);
  }
  return {};
}

Outcome<void> mount_late() {
  for (const auto& what : kLate) {
    if (auto mounted = mount_one(what); !mounted) return mounted;
  }
  for (const auto& what : kOfKernel) static_cast<void>(mount_one(what));
  for (const auto& link : kDeviceLinks) {
    if (symlink(link.target, link.path) != 0 && errno != EEXIST) return fail_errno(link.path);
  }
  return {};
}

// As systemd leaves it: container engines tell their containers' mounts from these by it.
Outcome<void> share_mounts() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr) != 0)
    return fail_errno("share the mounts");
  return {};
}

}  // namespace microvm::agent
