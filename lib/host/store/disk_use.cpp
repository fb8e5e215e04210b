#include "host/store/disk_use.hpp"

namespace microvm::host {

namespace fs = std::filesystem;

uint64_t FreedBytes::of_file(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return 0;
  const auto bytes = static_cast<uint64_t>(info.st_blocks) * 512;
  if (!S_ISREG(info.st_mode)) return bytes;
  auto& left = names_left_.try_emplace({info.st_dev, info.st_ino}, info.st_nlink).first->second;
  if (left == 0 || --left > 0) return 0;
  return bytes;
}

uint64_t FreedBytes::of(const fs::path& path) {
  uint64_t bytes = of_file(path);
  std::error_code ec;
  if (!fs::is_directory(fs::symlink_status(path, ec))) return bytes;
  for (fs::recursive_directory_iterator entry(path, ec), end; !ec && entry != end;
       entry.increment(ec)) {
    bytes += of_file(entry->path());
  }
  return bytes;
}

}  // namespace microvm::host
