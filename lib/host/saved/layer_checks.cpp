#include "host/saved/layer_checks.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "host/store/digest.hpp"
#include "host/store/files.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

// Without the digest. Names that come and go leave it as it is.
Result<LayerCheck> stamp_of(int fd, const std::string& name) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno(name);
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  return LayerCheck{{},
                    static_cast<uint64_t>(info.st_size),
                    info.st_ino,
                    static_cast<uint64_t>(info.st_mtim.tv_sec) * kNsPerSecond +
                        static_cast<uint64_t>(info.st_mtim.tv_nsec)};
}

bool is_untouched(const LayerCheck& now, const LayerCheck& then) {
  return now.size_bytes == then.size_bytes && now.inode == then.inode &&
         now.mtime_ns == then.mtime_ns;
}

base::Failure corrupt(const fs::path& path, const std::string& why) {
  return base::fail(ErrorCode::corrupt, path.string() + ": " + why);
}

const LayerCheck* find_check(const std::optional<SavedState>& known, const std::string& name) {
  if (!known || known->checks.size() != known->layers.size()) return nullptr;
  const auto at = std::ranges::find(known->layers, name) - known->layers.begin();
  if (static_cast<size_t>(at) == known->layers.size()) return nullptr;
  const LayerCheck& check = known->checks[static_cast<size_t>(at)];
  return check.sha256.empty() ? nullptr : &check;
}

// Empty: as it was. Otherwise what it is to be known by from now on.
Result<std::optional<LayerCheck>> verify_layer(const fs::path& path, const LayerCheck& expected,
                                               const CallCheck& check) {
  const auto fd = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!fd) return base::fail(fd.error());
  auto now = stamp_of(fd->get(), path.string());
  if (!now) return base::fail(now.error());
  if (now->size_bytes != expected.size_bytes) {
    return corrupt(path, "it is " + std::to_string(now->size_bytes) + " bytes long and should be " +
                             std::to_string(expected.size_bytes));
  }
  if (is_untouched(*now, expected)) return std::nullopt;
  auto digest = digest_sparse_file(fd->get(), path.string(), check);
  if (!digest) return base::fail(digest.error());
  if (digest->sha256 != expected.sha256) return corrupt(path, "its content is not what was saved");
  now->sha256 = std::move(digest->sha256);
  return std::optional(std::move(*now));
}

}  // namespace

Result<LayerCheck> check_layer(const fs::path& dir, const std::string& name,
                               const CallCheck& check) {
  const std::string path = (dir / name).string();
  const auto fd = open_file(path, O_RDONLY | O_NOFOLLOW);
  if (!fd) return base::fail(fd.error());
  // Before it is read: what changes it meanwhile makes it one to read again.
  auto layer = stamp_of(fd->get(), path);
  if (!layer) return layer;
  auto digest = digest_sparse_file(fd->get(), path, check);
  if (!digest) return base::fail(digest.error());
  layer->sha256 = std::move(digest->sha256);
  return layer;
}

Result<void> add_checks(SavedState& saved, const std::optional<SavedState>& known,
                        const fs::path& dir, const CallCheck& check) {
  saved.checks.clear();
  for (const std::string& name : saved.layers) {
    if (const LayerCheck* before = find_check(known, name)) {
      saved.checks.push_back(*before);
      continue;
    }
    auto layer = check_layer(dir, name, check);
    if (!layer) return base::fail(layer.error());
    saved.checks.push_back(std::move(*layer));
  }
  return {};
}

Result<void> verify_layers(const fs::path& dir, const SavedState& saved, const Limits& limits) {
  if (saved.checks.size() != saved.layers.size()) return {};  // of a version that had none
  SavedState seen = saved;
  bool changed = false;
  for (size_t i = 0; i < saved.layers.size(); ++i) {
    if (saved.checks[i].sha256.empty()) continue;
    const fs::path path = dir / saved.layers[i];
    auto now = verify_layer(path, saved.checks[i], CallCheck(limits, "check " + path.string()));
    if (!now) return base::fail(now.error());
    if (!*now) continue;
    seen.checks[i] = std::move(**now);
    changed = true;
  }
  // Without it (a read-only data directory) the next resume looks again.
  if (changed) [[maybe_unused]]
    const auto kept = write_saved(dir, seen);
  return {};
}

}  // namespace microvm::host
