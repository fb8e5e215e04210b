#include "agent/files/get_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <vector>

#include "agent/base/open_directory.hpp"
#include "agent/files/file_data.hpp"
#include "agent/files/place.hpp"
#include "agent/files/remove_tree.hpp"

namespace microvm::agent {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

class Walk {
 public:
  Walk(Channel& channel, std::string shown) : sender_(channel), shown_(std::move(shown)) {}

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
    if (auto sent = sender_.send_entry(entry); !sent) return sent;
    const auto sent = sender_.send_data(file.get(), entry.size, shown(path));
    if (!sent) return fail(sent.error());
    if (*sent != entry.size) return fail(shown(path) + ": shrank while it was read", EAGAIN);
    return {};
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
  std::string shown_;
  std::vector<Level> levels_;
  dev_t device_ = 0;  // other file systems mounted below are not walked: /proc, /sys
};

}  // namespace

Outcome<void> run_get_files(int root, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_GetFilesRequest request = microvm_agent_GetFilesRequest_init_zero;
  if (!decode_message(*body, microvm_agent_GetFilesRequest_fields, &request))
    return fail("a request for files is not readable", EPROTO);
  if (request.path[0] != '/')
    return fail(shown_path(request.path) + ": not an absolute path", EINVAL);
  const auto top =
      find_place(root, request.path, request.follow ? LastLink::follow : LastLink::keep);
  if (!top) return fail(top.error());
  return Walk(channel, request.path).run(*top);
}

}  // namespace microvm::agent
