#include "agent/files/watched_tree.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "agent/base/file.hpp"
#include "agent/base/open_directory.hpp"
#include "agent/files/place.hpp"

namespace microvm::agent {
namespace {

constexpr uint32_t kSelfMask = IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr uint32_t kDirectoryMask =
    kSelfMask | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;

// By descriptor: what is watched is what was opened, whatever its name leads to by now.
int watch_fd(int inotify, int fd, uint32_t mask) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return inotify_add_watch(inotify, path.c_str(), mask);
}

bool is_directory_in(int directory, const char* name) {
  struct stat status{};
  return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

base::Fd open_below(int top, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const char* name = path.empty() ? "." : path.c_str();
  return base::Fd(static_cast<int>(syscall(SYS_openat2, top, name, &how, sizeof how)));
}

// Whether `path` is `top` or below it.
bool is_within(const std::string& path, const std::string& top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

}  // namespace

std::string join_path(const std::string& directory, const char* name) {
  return directory.empty() ? name : directory + "/" + name;
}

Outcome<WatchedTree> WatchedTree::create(int root, const std::string& path) {
  const std::string shown = shown_path(path);
  base::Fd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify) return fail_errno("watch " + shown);
  WatchedTree tree(std::move(inotify), root, path);
  const base::Fd top = open_in_root(root, path.c_str(), O_PATH);
  struct stat status{};
  if (!top || fstat(top.get(), &status) != 0) return fail_errno(shown);
  tree.device_ = status.st_dev;
  tree.inode_ = status.st_ino;
  tree.is_directory_ = S_ISDIR(status.st_mode);
  tree.top_watch_ = watch_fd(tree.fd(), top.get(), tree.is_directory_ ? kDirectoryMask : kSelfMask);
  if (tree.top_watch_ < 0) return fail_errno("watch " + shown);
  tree.paths_[tree.top_watch_] = "";
  return tree;
}

// Invalid when the path leads to something else by now.
base::Fd WatchedTree::open_top() const {
  base::Fd top = open_in_root(root_, path_.c_str(), O_PATH);
  struct stat status{};
  if (top && fstat(top.get(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
    return top;
  return {};
}

const std::string* WatchedTree::path_of(int watch) const {
  const auto found = paths_.find(watch);
  return found == paths_.end() ? nullptr : &found->second;
}

WatchedTree::Added WatchedTree::add(int top, const std::string& path) {
  const base::Fd directory = open_below(top, path, O_PATH);
  if (!directory) return Added::gone;
  // One that is watched already gets its path anew.
  const int watch = watch_fd(fd(), directory.get(), kDirectoryMask);
  if (watch < 0) return errno == ENOSPC || errno == ENOMEM ? Added::no_room : Added::gone;
  paths_[watch] = path;
  return Added::yes;
}

// The watch first: what is made while the names are read is then told by the kernel.
void WatchedTree::add_below(const std::string& path, Visitor& visitor) {
  const base::Fd top = open_top();
  if (!top) return;
  std::vector<std::string> left = {path};
  while (!left.empty()) {
    const std::string at = std::move(left.back());
    left.pop_back();
    const Added added = add(top.get(), at);
    if (added == Added::no_room) return visitor.no_room();
    if (added == Added::gone) continue;
    OpenDirectory directory(open_below(top.get(), at, O_RDONLY));
    if (!directory) continue;
    while (const char* name = directory.next()) {
      std::string child = join_path(at, name);
      const bool is_directory = is_directory_in(directory.fd(), name);
      if (!visitor.found(child, is_directory)) return;
      if (!is_directory) continue;
      if (paths_.size() + left.size() >= kMaxWatches) return visitor.no_room();
      left.push_back(std::move(child));
    }
  }
}

void WatchedTree::moved(const std::string& from, const std::string& to) {
  for (auto& [watch, path] : paths_) {
    if (is_within(path, from)) path = to + path.substr(from.size());
  }
}

void WatchedTree::drop(const std::string& path) {
  for (auto entry = paths_.begin(); entry != paths_.end();) {
    if (!is_within(entry->second, path)) {
      ++entry;
      continue;
    }
    inotify_rm_watch(fd(), entry->first);
    entry = paths_.erase(entry);
  }
}

}  // namespace microvm::agent
