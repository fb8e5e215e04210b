// How much of the disk goes free with files that may have more names than one.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <utility>

namespace microvm::host {

// Files are looked at one after another, each once, in the order they go, or would go.
class FreedBytes {
 public:
  // A file, or a directory with everything below it. A file counts with its last name.
  uint64_t of(const std::filesystem::path& path);

 private:
  uint64_t of_file(const std::filesystem::path& path);

  // Names that are left of each file met so far: as many as it had then, less those that went.
  std::map<std::pair<dev_t, ino_t>, nlink_t> names_left_;
};

}  // namespace microvm::host
