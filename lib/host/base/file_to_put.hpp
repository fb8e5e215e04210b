// What is copied into a guest: said by builds and uploads, sent by the session.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace microvm::host {

// One file to be made in the guest. Content comes from `source` (a regular file on the host, opened
// without following links) or, where that is empty, from `inline_content`.
struct FileToPut {
  enum class Type { regular, directory, symlink };
  Type type = Type::regular;
  std::string path;  // absolute in the guest
  uint32_t mode = 0644;
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_ns = 0;
  std::string link_target;
  bool follow = false;  // a link that is there at the end of the path is followed, in the guest
  std::filesystem::path source;
  std::string inline_content;
};

}  // namespace microvm::host
