// The numbered files of vms/<id>/ and the two small records that say which of them mean what:
//   disk-<n>.layer  private disk layers, lowest number first; once another stands above it, a layer
//                   does not change any more and may have names in other directories (hard links)
//   pages-<n>       changed pages of the memory at rest (state/pages.hpp)
//   state-<n>       device state
//   run.json        what the present worker was started with (VmRun)
//   saved.json      the last state that was saved whole (SavedState): it is replaced by one rename,
//                   and whatever it names is never changed
// Numbers are not used twice while a file has them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::host {

inline constexpr const char* kRunFile = "run.json";
inline constexpr const char* kSavedFile = "saved.json";

enum class VmFileKind { layer, pages, state };

// "disk-3.layer"
std::string numbered_file(VmFileKind kind, uint64_t number);
bool is_numbered_file(VmFileKind kind, std::string_view name) noexcept;
// Above that of every numbered file there.
Result<uint64_t> next_file_number(const std::filesystem::path& dir);
// A worker writes the header of a layer before anything else happens to it, and empties one that it
// does not use.
bool is_begun_layer(const std::filesystem::path& path) noexcept;
// A new empty file, read-write.
Result<base::Fd> create_numbered_file(const std::filesystem::path& dir, const std::string& name);
// Removes the numbered files that are not among `names`.
void keep_numbered_files(const std::filesystem::path& dir, const std::vector<std::string>& names);

struct VmRun {
  uint32_t worker_pid = 0;
  std::vector<std::string> layers;  // lowest first; the last one is being written
  std::vector<std::string> pages;   // at rest: what its memory began with above the image's
  bool pages_known = true;  // false: it began with pages that no file of its own has (a fork)
  bool keeps_logs = true;   // false: its worker is of an older version (vm_logs.hpp)
};

// A sealed layer as it was when it was read whole.
struct LayerCheck {
  std::string sha256;  // hex, by digest_sparse_file(); empty: not known
  uint64_t size_bytes = 0;
  uint64_t inode = 0;
  uint64_t mtime_ns = 0;
};

struct SavedState {
  std::string saved;                // RFC 3339, UTC
  std::vector<std::string> layers;  // lowest first
  std::vector<std::string> pages;   // oldest first
  std::string state;
  std::vector<LayerCheck> checks = {};  // of each layer; none where it was not looked at

  [[nodiscard]] std::vector<std::string> files() const;
};

inline constexpr uint64_t kRunSchema = 1;
inline constexpr uint64_t kSavedSchema = 1;
inline constexpr size_t kMaxStateFiles = 64;
inline constexpr size_t kMaxStateRecordBytes = 64 * 1024;

// Errors of the parsers, which name `file`: corrupt, unsupported (a newer schema).
std::string encode_run(const VmRun& run);
Result<VmRun> parse_run(std::string_view text, const std::string& file);
std::string encode_saved(const SavedState& saved);
Result<SavedState> parse_saved(std::string_view text, const std::string& file);

// A layer that a capture named and no worker has begun is left out.
Result<VmRun> read_run(const std::filesystem::path& dir);
Result<void> write_run(const std::filesystem::path& dir, const VmRun& run);
// Empty: there is none. Errors: corrupt, unsupported.
Result<std::optional<SavedState>> read_saved(const std::filesystem::path& dir);
// The commit of a saved state: after it, and after any crash, the old or the new one is there.
// The files it names are synced already.
Result<void> write_saved(const std::filesystem::path& dir, const SavedState& saved);

}  // namespace microvm::host
