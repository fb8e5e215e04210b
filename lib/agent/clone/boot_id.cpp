#include "agent/clone/boot_id.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.hpp"

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

// Only a mount that is in the tree can be bound elsewhere, so this one is there for a moment, over
// another. No program runs before the first identity: none sees it.
constexpr const char* kMomentaryMount = "/dev/shm";
constexpr const char* kMomentaryFile = "/dev/shm/boot_id";

Outcome<void> cover_from(const char* source) {
  base::Fd file(open(source, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
  if (!file) return fail_errno("boot_id: file");
  if (mount(source, kBootIdPath, nullptr, MS_BIND, nullptr) != 0)
    return fail_errno("boot_id: mount");
  cover = std::move(file);
  return {};
}

// A tmpfs of its own, of which nothing but the one file can be reached.
Outcome<void> make_cover() {
  if (mount("tmpfs", kMomentaryMount, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k") != 0)
    return fail_errno("boot_id: tmpfs");
  auto covered = cover_from(kMomentaryFile);
  umount2(kMomentaryMount, MNT_DETACH);
  return covered;
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
