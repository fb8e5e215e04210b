#include "agent/boot/root_disk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "agent/base/time.hpp"
#include "agent/boot/mounts.hpp"
#include "base/fd.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kRootDevice = "/dev/vda";
constexpr const char* kRootMount = "/root";
constexpr int64_t kDiskTimeoutMs = 10'000;

bool exists(const char* path) {
  return access(path, F_OK) == 0;
}

// The watch exists before the look, so the disk cannot appear unseen in between.
Outcome<void> wait_for_disk() {
  const base::Fd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch || inotify_add_watch(watch.get(), "/dev", IN_CREATE) < 0)
    return fail_errno("watch /dev");
  const auto deadline = Deadline::after_ms(kDiskTimeoutMs);
  while (!exists(kRootDevice)) {
    if (deadline.passed())
      return fail("no root disk: " + std::string(kRootDevice) + " did not appear within " +
                      std::to_string(kDiskTimeoutMs) + " ms",
                  ENODEV);
    pollfd wait{.fd = watch.get(), .events = POLLIN, .revents = 0};
    poll(&wait, 1, deadline.poll_timeout_ms());
    char events[4096];
    [[maybe_unused]] const ssize_t discarded = read(watch.get(), events, sizeof events);
  }
  return {};
}

Outcome<void> mount_disk() {
  mkdir(kRootMount, 0755);
  if (mount(kRootDevice, kRootMount, "ext4", MS_NOATIME, nullptr) != 0)
    return fail_errno(std::string("mount root disk ") + kRootDevice);
  return {};
}

// Takes the directory's descriptor. Other file systems are left alone.
void empty_directory(int directory, dev_t device) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(directory), closedir);
  if (!entries) return;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    struct stat status{};
    if (name == "." || name == ".." ||
        fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        status.st_dev != device)
      continue;
    const bool is_directory = S_ISDIR(status.st_mode);
    if (is_directory)
      empty_directory(openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), device);
    unlinkat(directory, name.c_str(), is_directory ? AT_REMOVEDIR : 0);
  }
}

// The memory of the initramfs is given back; this program's own file stays as long as it runs.
void empty_initramfs() {
  struct stat status{};
  const int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root >= 0 && fstat(root, &status) == 0) empty_directory(root, status.st_dev);
}

Outcome<void> switch_root() {
  if (chdir(kRootMount) != 0) return fail_errno(kRootMount);
  empty_initramfs();
  if (mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) return fail_errno("move the root");
  if (chroot(".") != 0 || chdir("/") != 0) return fail_errno("enter the root");
  return {};
}

}  // namespace

Outcome<void> enter_root_disk() {
  if (auto waited = wait_for_disk(); !waited) return waited;
  if (auto mounted = mount_disk(); !mounted) return mounted;
  if (auto moved = move_early_mounts(kRootMount); !moved) return moved;
  return switch_root();
}

}  // namespace microvm::agent
