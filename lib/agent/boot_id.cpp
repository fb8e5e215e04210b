#include "agent/boot_id.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/file.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";
constexpr size_t kUuidDigits = 36;

// The file that covers the kernel's. One kernel, one boot_id: process-wide, used by the one thread
// that serves the doorbell.
base::Fd cover;

bool is_uuid(std::string_view text) {
  if (text.size() != kUuidDigits) return false;
  for (size_t i = 0; i < text.size(); i++) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    const bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (is_dash ? c != '-' : !is_hex) return false;
  }
  return true;
}

// A tmpfs that is mounted nowhere, so that no program finds its other files.
base::Fd make_tmpfs() {
  const base::Fd context(fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context || fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return base::Fd();
  return base::Fd(fsmount(context.get(), FSMOUNT_CLOEXEC,
                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

Outcome<void> make_cover() {
  const base::Fd tmpfs = make_tmpfs();
  if (!tmpfs) return fail_errno("boot_id: tmpfs");
  base::Fd file(openat(tmpfs.get(), "boot_id", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) return fail_errno("boot_id: file");
  const base::Fd tree(open_tree(tmpfs.get(), "boot_id", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree || move_mount(tree.get(), "", AT_FDCWD, kBootIdPath, MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return fail_errno("boot_id: mount");
  cover = std::move(file);
  return {};
}

}  // namespace

Outcome<void> set_boot_id(std::string_view uuid) {
  if (!is_uuid(uuid)) return fail("boot_id \"" + std::string(uuid) + "\": not a UUID");
  if (!cover) {
    if (auto made = make_cover(); !made) return made;
  }
  // One write of a size that never changes: readers see the old or the new one.
  const std::string line = std::string(uuid) + "\n";
  if (pwrite(cover.get(), line.data(), line.size(), 0) != static_cast<ssize_t>(line.size()))
    return fail_errno("boot_id");
  return {};
}

}  // namespace microvm::agent
