#include "host/saved/change_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <thread>

namespace microvm::host {
namespace {

constexpr const char* kFile = "change";
constexpr std::chrono::milliseconds kCheckInterval{5};

base::Fd open_lock_file(const std::filesystem::path& vm_dir, int flags) {
  return base::Fd(::open((vm_dir / kFile).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
}

}  // namespace

Result<ChangeHold> hold_change(const std::filesystem::path& vm_dir, const Limits& limits,
                               std::string_view what) {
  auto file = open_lock_file(vm_dir, O_CREAT);
  if (!file && errno != ENOENT) return base::fail_errno("open " + (vm_dir / kFile).string());
  while (file && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return base::fail_errno("lock " + (vm_dir / kFile).string());
    }
    if (auto ok = limits.check(what); !ok) return base::fail(ok.error());
    std::this_thread::sleep_for(kCheckInterval);
  }
  return hold_until_dropped(std::move(file));
}

bool is_change_held(const std::filesystem::path& vm_dir) {
  const auto file = open_lock_file(vm_dir, 0);
  return file && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0;
}

}  // namespace microvm::host
