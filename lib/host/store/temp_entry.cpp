#include "host/store/temp_entry.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <vector>

#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;
using std::filesystem::path;

namespace {

constexpr const char* kOwnerFile = "owner";
// Held shared while a holder is created, exclusively while leftovers are looked for: a directory
// whose owner file is not there or not locked yet is never taken for a leftover.
constexpr const char* kTmpLock = ".lock";

Result<base::Fd> lock_file(const path& file, int operation) {
  auto fd = open_file(file, O_RDWR | O_CREAT, 0600);
  if (!fd) return fd;
  while (::flock(fd->get(), operation) != 0) {
    if (errno == EINTR) continue;
    return fail_errno("lock " + file.string());
  }
  return fd;
}

bool owner_is_gone(const path& holder) {
  const base::Fd owner(::open((holder / kOwnerFile).c_str(), O_RDWR | O_CLOEXEC));
  // Any other failure (out of descriptors) says nothing about it.
  if (!owner) return errno == ENOENT || errno == ENOTDIR;
  return ::flock(owner.get(), LOCK_EX | LOCK_NB) == 0;
}

Result<void> sync_files(const path& dir) {
  const auto names = list_dir(dir);
  if (!names) return fail(names.error());
  for (const auto& name : *names)
    if (auto synced = sync_path(dir / name); !synced) return synced;
  return sync_path(dir);
}

}  // namespace

TempEntry::TempEntry(TempEntry&& other) noexcept
    : holder_(std::exchange(other.holder_, {})), owner_(std::move(other.owner_)) {}

TempEntry& TempEntry::operator=(TempEntry&& other) noexcept {
  if (this == &other) return *this;
  remove();
  holder_ = std::exchange(other.holder_, {});
  owner_ = std::move(other.owner_);
  return *this;
}

TempEntry::~TempEntry() {
  remove();
}

void TempEntry::remove() noexcept {
  if (!holder_.empty()) remove_tree(holder_);
  holder_.clear();
  owner_.reset();
}

Result<TempEntry> TempEntry::create(const path& tmp_dir) {
  const auto creating = lock_file(tmp_dir / kTmpLock, LOCK_SH);
  if (!creating) return fail(creating.error());
  const path holder = tmp_dir / random_name();
  if (::mkdir(holder.c_str(), 0700) != 0) return fail_errno("create " + holder.string());
  TempEntry entry(holder, {});
  auto owner = lock_file(holder / kOwnerFile, LOCK_EX);
  if (!owner) return fail(owner.error());
  entry.owner_ = std::move(*owner);
  if (auto made = make_dir(entry.dir()); !made) return fail(made.error());
  return entry;
}

Result<std::vector<path>> TempEntry::leftovers(const path& tmp_dir) {
  const auto looking = lock_file(tmp_dir / kTmpLock, LOCK_EX);
  if (!looking) return fail(looking.error());
  const auto names = list_dir(tmp_dir);
  if (!names) return fail(names.error());
  std::vector<path> found;
  for (const auto& name : *names)
    if (name != kTmpLock && owner_is_gone(tmp_dir / name)) found.push_back(tmp_dir / name);
  return found;
}

Result<base::Fd> TempEntry::create_file(const std::string& name) const {
  return open_file(dir() / name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

Result<void> TempEntry::write_file(const std::string& name,
                                   std::span<const std::byte> bytes) const {
  const auto fd = create_file(name);
  if (!fd) return fail(fd.error());
  return write_all(fd->get(), bytes, (dir() / name).string());
}

Result<void> TempEntry::link_file(const path& from, const std::string& name) const {
  if (::link(from.c_str(), (dir() / name).c_str()) != 0) return fail_errno("link " + from.string());
  return {};
}

Result<void> TempEntry::sync() const {
  return sync_files(dir());
}

}  // namespace microvm::host
