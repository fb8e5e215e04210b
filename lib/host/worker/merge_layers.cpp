#include "host/worker/merge_layers.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "host/saved/layer_checks.hpp"
#include "host/store/files.hpp"
#include "host/store/sparse_copy.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLeft = 2;  // of the layers, after a merge

bool has_other_names(const fs::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) != 0 || info.st_nlink > 1;
}

// What others also read must not change.
Result<std::string> own_copy(const fs::path& dir, const std::string& name, const Limits& limits) {
  const auto number = next_file_number(dir);
  if (!number) return base::fail(number.error());
  std::string copy = numbered_file(VmFileKind::layer, *number);
  const auto from = open_file(dir / name, O_RDONLY | O_NOFOLLOW);
  if (!from) return base::fail(from.error());
  const auto to = create_numbered_file(dir, copy);
  if (!to) return base::fail(to.error());
  struct stat info{};
  if (::fstat(from->get(), &info) != 0 || ::ftruncate(to->get(), info.st_size) != 0) {
    return base::fail_errno("copy " + (dir / name).string());
  }
  const auto copied = copy_data(from->get(), to->get(), (dir / copy).string(),
                                CallCheck(limits, "merge disk layers"));
  if (!copied) return base::fail(copied.error());
  return copy;
}

Result<void> merge_pair(WorkerSpawner& spawner, const fs::path& dir, const std::string& lower,
                        const std::string& upper, const Limits& limits) {
  const auto below = open_file(dir / lower, O_RDWR | O_NOFOLLOW);
  if (!below) return base::fail(below.error());
  const auto above = open_file(dir / upper, O_RDONLY | O_NOFOLLOW);
  if (!above) return base::fail(above.error());
  return spawner.merge_layers(below->get(), above->get(), limits);
}

// A merge that is cut short leaves the lowest layer as good, but not as it was.
Result<void> forget_check(const fs::path& dir, const std::string& lower, SavedState& saved) {
  if (lower != saved.layers[0] || saved.checks.empty()) return {};
  saved.checks[0] = {};
  return write_saved(dir, saved);
}

// After the two lowest layers became one.
Result<void> renew_check(const fs::path& dir, SavedState& merged, const Limits& limits) {
  if (merged.checks.empty()) return {};
  merged.checks.erase(merged.checks.begin() + 1);
  auto check = check_layer(dir, merged.layers[0], CallCheck(limits, "merge disk layers"));
  if (!check) return base::fail(check.error());
  merged.checks[0] = std::move(*check);
  return {};
}

}  // namespace

Result<void> merge_saved_layers(WorkerSpawner& spawner, const fs::path& dir, SavedState& saved,
                                const Limits& limits) {
  if (saved.layers.size() <= kMaxSavedLayers) return {};
  while (saved.layers.size() > kLeft) {
    SavedState merged = saved;
    std::string& lower = merged.layers[0];
    if (has_other_names(dir / lower)) {
      auto copy = own_copy(dir, lower, limits);
      if (!copy) return base::fail(copy.error());
      lower = std::move(*copy);
    }
    if (auto ok = forget_check(dir, lower, saved); !ok) return ok;
    if (auto ok = merge_pair(spawner, dir, lower, merged.layers[1], limits); !ok) return ok;
    merged.layers.erase(merged.layers.begin() + 1);
    if (auto ok = renew_check(dir, merged, limits); !ok) return ok;
    if (auto ok = write_saved(dir, merged); !ok) return ok;
    saved = std::move(merged);
    keep_numbered_files(dir, saved.files());
  }
  return {};
}

}  // namespace microvm::host
