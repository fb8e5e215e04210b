#include "agent/files/get_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <map>
#include <optional>
#include <vector>

#include "agent/base/open_directory.hpp"
#include "agent/files/file_data.hpp"
#include "agent/files/place.hpp"
#include "agent/files/remove_tree.hpp"

namespace microvm::agent {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
// Of a file whose content has to be read before its size is known.
constexpr size_t kMaxUnsizedBytes = 16u << 20;
constexpr size_t kFirstRead = 64 * 1024;
// Files with further names that have not come yet; those beyond it become files of their own.
constexpr size_t kMaxLinkedFiles = 65'536;

using GetRequest = microvm_agent_GetFilesRequest;

// The whole content of a file, up to a bound. Error EFBIG beyond it.
Outcome<std::vector<std::byte>> read_whole(int file, const std::string& shown) {
  std::vector<std::byte> content(kFirstRead);
  for (size_t size = 0;;) {
    const ssize_t count = read(file, content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(shown);
    size += static_cast<size_t>(count);
    if (size > kMaxUnsizedBytes)
      return fail(shown + ": it says no size, and has more than " +
                      std::to_string(kMaxUnsizedBytes >> 20) + " MiB",
                  EFBIG);
    if (count == 0) {
      content.resize(size);
      return content;
    }
    if (size == content.size()) content.resize(2 * size);
  }
}

// Further names of files that were sent.
class LinkedFiles {
 public:
  // The path of the file's first name, once there is one. Of the last name nothing is kept.
  std::optional<std::string> find(const struct stat& status) {
    const auto found = files_.find({status.st_dev, status.st_ino});
    if (found == files_.end()) return std::nullopt;
    std::string path = found->second.path;
    if (--found->second.names_left == 0) files_.erase(found);
    return path;
  }
  // False: this one is sent as often as it has names.
  bool add(const struct stat& status, const std::string& path) {
    if (files_.size() >= kMaxLinkedFiles) return false;
    files_[{status.st_dev, status.st_ino}] = {path, status.st_nlink - 1};
    return true;
  }

 private:
  struct First {
    std::string path;
    nlink_t names_left;
  };
  std::map<std::pair<dev_t, ino_t>, First> files_;
};

class Walk {
 public:
  Walk(Channel& channel, const GetRequest& request)
      : sender_(channel), request_(request), shown_(request.path) {}

  Outcome<void> run(const Place& top) {
    if (auto sent = send(top.parent.get(), top.name.c_str(), ""); !sent) return sent;
    while (!levels_.empty()) {
      const char* name = levels_.back().directory.next();
      if (name == nullptr) {
        levels_.pop_back();
        continue;
      }
      const auto& above = levels_.back();
      const std::string path = above.path.empty() ? name : above.path + "/" + name;
      if (auto sent = send(above.directory.fd(), name, path); !sent) return sent;
    }
    return {};
  }

 private:
  struct Level {
    OpenDirectory directory;
    std::string path;
  };

  [[nodiscard]] std::string shown(const std::string& path) const {
    return shown_path(path.empty() ? shown_ : shown_ + "/" + path);
  }

  // One that went away since its name was read is no failure, but for the one asked for.
  [[nodiscard]] Outcome<void> lost(const std::string& path) const {
    if (errno == ENOENT && !path.empty()) return {};
    return fail_errno(shown(path));
  }

  Outcome<void> send(int parent, const char* name, const std::string& path) {
    struct stat status{};
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return lost(path);
    if (path.size() >= PATH_MAX) return fail_errno(shown(path), ENAMETOOLONG);
    if (S_ISREG(status.st_mode)) return send_regular(parent, name, path);
    if (S_ISDIR(status.st_mode)) return enter(parent, name, path);
    auto entry = describe_file(status);
    entry.size = 0;
    copy_text(entry.path, path);
    if (S_ISLNK(status.st_mode)) {
      const auto target = read_link(parent, name);
      if (!target && target.error().error == ENAMETOOLONG)
        return fail_errno(shown(path), ENAMETOOLONG);
      if (!target) return lost(path);
      copy_text(entry.link_target, *target);
    }
    return sender_.send_entry(entry);
  }

  // What is described is what is open: the name may lead elsewhere a moment later.
  Outcome<void> send_regular(int parent, const char* name, const std::string& path) {
    const base::Fd file(openat(parent, name, kOpenFlags));
    struct stat status{};
    if (!file || fstat(file.get(), &status) != 0) return lost(path);
    if (!S_ISREG(status.st_mode)) return fail(shown(path) + ": changed while it was read", EAGAIN);
    auto entry = describe_file(status);
    copy_text(entry.path, path);
    if (request_.hard_links && status.st_nlink > 1) {
      if (const auto first = linked_.find(status)) return send_hard_link(entry, *first);
      entry.named_again = linked_.add(status, path);
    }
    const auto extents = find_extents(file.get(), entry.size);
    if (extents && request_.holes) return send_sparse(file.get(), entry, *extents);
    if (!extents && says_no_size(status)) return send_unsized(file.get(), entry);
    if (auto sent = sender_.send_entry(entry); !sent) return sent;
    return send_exactly(file.get(), entry.size, path);
  }

  // Files of /proc are empty by their size, those of /sys have a page: small ones, and those that
  // are nowhere on a disk, are read first.
  static bool says_no_size(const struct stat& status) {
    const auto size = static_cast<uint64_t>(status.st_size);
    return size <= wire::kDataChunk || (status.st_blocks == 0 && size <= kMaxUnsizedBytes);
  }

  Outcome<void> send_unsized(int file, microvm_agent_FileEntry& entry) {
    const auto content = read_whole(file, shown(entry.path));
    if (!content) return fail(content.error());
    entry.size = content->size();
    if (auto sent = sender_.send_entry(entry); !sent) return sent;
    return sender_.send_bytes(*content);
  }

  Outcome<void> send_hard_link(microvm_agent_FileEntry& entry, const std::string& first) {
    entry.type = microvm_agent_FileEntry_Type_HARD_LINK;
    entry.size = 0;
    copy_text(entry.link_target, first);
    return sender_.send_entry(entry);
  }

  Outcome<void> send_sparse(int file, microvm_agent_FileEntry& entry,
                            const std::vector<FileExtent>& extents) {
    entry.sparse = true;
    entry.extents = static_cast<uint32_t>(extents.size());
    if (auto sent = sender_.send_entry(entry); !sent) return sent;
    if (auto sent = sender_.send_extents(extents); !sent) return sent;
    for (const FileExtent& extent : extents) {
      if (lseek(file, static_cast<off_t>(extent.offset), SEEK_SET) < 0)
        return fail_errno(shown(entry.path));
      if (auto sent = send_exactly(file, extent.size, entry.path); !sent) return sent;
    }
    return check_size(file, entry.size, entry.path);
  }

  // From where the file stands.
  Outcome<void> send_exactly(int file, uint64_t size, const std::string& path) {
    const auto sent = sender_.send_data(file, size, shown(path));
    if (!sent) return fail(sent.error());
    if (*sent == size) return {};
    if (auto same = check_size(file, size, path); !same) return same;
    return fail(shown(path) + ": has less content than its size says", EIO);
  }

  Outcome<void> check_size(int file, uint64_t size, const std::string& path) const {
    struct stat now{};
    if (fstat(file, &now) != 0) return fail_errno(shown(path));
    if (static_cast<uint64_t>(now.st_size) >= size) return {};
    return fail(shown(path) + ": shrank while it was read", EAGAIN);
  }

  Outcome<void> enter(int parent, const char* name, const std::string& path) {
    if (levels_.size() == kMaxTreeDepth)
      return fail(shown(path) + ": more than " + std::to_string(kMaxTreeDepth) +
                      " directories in each other",
                  EINVAL);
    OpenDirectory directory(base::Fd(openat(parent, name, kOpenFlags | O_DIRECTORY)));
    struct stat status{};
    if (!directory || fstat(directory.fd(), &status) != 0) return lost(path);
    auto entry = describe_file(status);
    entry.size = 0;
    copy_text(entry.path, path);
    if (path.empty()) device_ = status.st_dev;
    if (status.st_dev == device_) levels_.push_back(Level{std::move(directory), path});
    return sender_.send_entry(entry);
  }

  FileSender sender_;
  const GetRequest& request_;
  std::string shown_;
  LinkedFiles linked_;
  std::vector<Level> levels_;
  dev_t device_ = 0;  // other file systems mounted below are not walked: /proc, /sys
};

}  // namespace

Outcome<void> run_get_files(int root, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  GetRequest request = microvm_agent_GetFilesRequest_init_zero;
  if (!decode_message(*body, microvm_agent_GetFilesRequest_fields, &request))
    return fail("a request for files is not readable", EPROTO);
  if (request.path[0] != '/')
    return fail(shown_path(request.path) + ": not an absolute path", EINVAL);
  const auto top =
      find_place(root, request.path, request.follow ? LastLink::follow : LastLink::keep);
  if (!top) return fail(top.error());
  return Walk(channel, request).run(*top);
}

}  // namespace microvm::agent
