#include "host/store/verified_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/store/digest.hpp"
#include "host/store/files.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStampFile = "verified";
constexpr size_t kMaxStampBytes = 64 * 1024;

std::string name_of(const fs::path& entry_dir, const FileToVerify& file) {
  return (entry_dir / file.record->file).string();
}

base::Failure corrupt(const std::string& name, const std::string& why) {
  return base::fail(ErrorCode::corrupt, name + ": " + why + "; build or import it again");
}

// "file inode ctime size", one line each. Error corrupt when a size is not the recorded one.
Result<std::string> make_stamp(const fs::path& entry_dir, std::span<const FileToVerify> files) {
  std::string stamp;
  for (const FileToVerify& file : files) {
    struct stat status{};
    if (::fstat(file.fd, &status) != 0) return base::fail_errno(name_of(entry_dir, file));
    if (static_cast<uint64_t>(status.st_size) != file.record->size_bytes) {
      return corrupt(name_of(entry_dir, file), "it is " + std::to_string(status.st_size) +
                                                   " bytes long and should be " +
                                                   std::to_string(file.record->size_bytes));
    }
    stamp += file.record->file + " " + std::to_string(status.st_ino) + " " +
             std::to_string(status.st_ctim.tv_sec) + "." + std::to_string(status.st_ctim.tv_nsec) +
             "\n";
  }
  return stamp;
}

Result<void> verify_content(const fs::path& entry_dir, std::span<const FileToVerify> files,
                            const Limits& limits) {
  for (const FileToVerify& file : files) {
    if (file.record->sha256.empty()) continue;
    const std::string name = name_of(entry_dir, file);
    const auto digest = digest_sparse_file(file.fd, name, CallCheck(limits, "check " + name));
    if (!digest) return base::fail(digest.error());
    if (digest->sha256 != file.record->sha256) {
      return corrupt(name, "its content is not what was written");
    }
  }
  return {};
}

}  // namespace

Result<void> verify_files(const fs::path& entry_dir, std::span<const FileToVerify> files,
                          const Limits& limits) {
  const auto stamp = make_stamp(entry_dir, files);
  if (!stamp) return base::fail(stamp.error());
  const fs::path path = entry_dir / kStampFile;
  const auto known = read_text_file(path, kMaxStampBytes);
  if (known && *known == *stamp) return {};
  if (auto ok = verify_content(entry_dir, files, limits); !ok) return ok;
  // Without it (a read-only data directory) the next launch looks again.
  [[maybe_unused]] const auto kept = replace_file(path, *stamp);
  return {};
}

}  // namespace microvm::host
