// Files of a Vm: what Vm's calls for them take and give.
//
// Guest paths are absolute and are resolved inside the guest, by its own rules: links on the way
// are followed and never lead out of it. Calls act as the guest's root. Names are bytes; they are
// what the guest says, so escape them before showing them. All sizes are bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "microvm/error.hpp"

namespace microvm {

enum class FileType {
  regular,
  directory,
  symlink,
  fifo,
  socket,
  character_device,
  block_device,
};

struct FileInfo {
  std::string name;  // in its directory; of stat_file(): the path as given
  FileType type = FileType::regular;
  uint32_t mode = 0;  // permissions, set-id bits, sticky bit: 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;     // since 1970, UTC
  std::string link_target;  // of a symlink
};

// Takes the next bytes; an error ends the call and is what it returns. Called on the caller's
// thread.
using DataSink = std::function<Result<void>(std::span<const std::byte>)>;
// Fills the front of the buffer (not empty) and returns how many bytes; 0 is the end.
using DataSource = std::function<Result<size_t>(std::span<std::byte>)>;

struct ReadFileOptions {
  uint64_t offset = 0;
  uint64_t length = 0;               // at most; 0: to the end
  uint64_t max_bytes = 64ull << 20;  // more than that is an error, and not a cut
};

struct StatFileOptions {
  bool follow_link = true;  // a link at the end of the path: what it leads to
};

struct ListFilesOptions {
  uint64_t max_entries = 100'000;  // more are an error, and not a cut
};

struct WriteFileOptions {
  // Of the file; empty: as they are, or 0644 and root for a new one.
  std::optional<uint32_t> mode;
  std::string owner;    // "name", "uid", "name:group" or "uid:gid" of the guest
  bool replace = true;  // false: already_exists when there is one
};

struct MakeDirectoryOptions {
  std::optional<uint32_t> mode;  // empty: 0755
  std::string owner;             // as in WriteFileOptions; empty: root
  bool parents = false;          // missing ones too (0755, root), and one that exists is no error
};

struct RemoveFileOptions {
  bool recursive = false;  // false: a directory must be empty
};

struct RenameFileOptions {
  bool replace = true;  // false: already_exists when there is something at the new path
};

// Bounds of one download: the guest decides what comes.
struct DownloadOptions {
  std::string name;          // of the top in the result; empty: its own; ".": only what is in it
  bool follow_link = false;  // when the path is a link: what it leads to
  // When there is a link at the place of the top: what it leads to is written, and made where it is
  // not there, as docker cp does. Links below the top are never followed. Not into a tar, not with
  // the name ".".
  bool follow_target = false;
  bool keep_owner = false;  // into a directory: owners by number, as far as this process may
  uint64_t max_entries = 200'000;
  uint64_t max_bytes = 16ull << 30;  // of all files together
};

struct UploadOptions {
  std::string name;          // as in DownloadOptions; not with a tar
  bool follow_link = false;  // as in DownloadOptions; not with a tar
  // As in DownloadOptions, by the guest's links and inside its root; not with a tar. An image of a
  // version that does not know it replaces the link.
  bool follow_target = false;
  bool keep_owner = false;  // owners as they are here or in the tar; false: uid and gid
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t max_entries = 200'000;
};

struct TransferTotals {
  uint64_t entries = 0;  // files, directories and links
  uint64_t bytes = 0;    // of the files
  uint64_t skipped = 0;  // devices, fifos and sockets, which are not carried
};

}  // namespace microvm
