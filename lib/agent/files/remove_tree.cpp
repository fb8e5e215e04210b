#include "agent/files/remove_tree.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "agent/base/open_directory.hpp"

namespace microvm::agent {
namespace {

struct Level {
  OpenDirectory directory;
  std::string name;  // in the level above
};

Outcome<Level> open_level(int parent, const char* name, const std::string& shown) {
  OpenDirectory directory(
      base::Fd(openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)));
  if (!directory) return fail_errno(shown + ": " + name);
  return Level{std::move(directory), name};
}

// Removes `name`, or enters it where that is a directory with something in it.
Outcome<void> remove_or_enter(std::vector<Level>& levels, const char* name,
                              const std::string& shown) {
  const int parent = levels.back().directory.fd();
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return fail_errno(shown + ": " + name);
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0) return {};
  if (errno != ENOTEMPTY && errno != EEXIST) return fail_errno(shown + ": " + name);
  if (levels.size() == kMaxTreeDepth)
    return fail(
        shown + ": more than " + std::to_string(kMaxTreeDepth) + " directories in each other",
        EINVAL);
  auto level = open_level(parent, name, shown);
  if (!level) return fail(level.error());
  levels.push_back(std::move(*level));
  return {};
}

}  // namespace

Outcome<void> remove_content(int parent, const char* name, const std::string& shown) {
  std::vector<Level> levels;
  auto top = open_level(parent, name, shown);
  if (!top) return fail(top.error());
  levels.push_back(std::move(*top));
  for (;;) {
    if (const char* next = levels.back().directory.next()) {
      if (auto removed = remove_or_enter(levels, next, shown); !removed) return removed;
      continue;
    }
    const Level done = std::move(levels.back());
    levels.pop_back();
    if (levels.empty()) return {};
    if (unlinkat(levels.back().directory.fd(), done.name.c_str(), AT_REMOVEDIR) != 0)
      return fail_errno(shown + ": " + done.name);
  }
}

}  // namespace microvm::agent
