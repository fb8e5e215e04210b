#include "agent/files/place.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr mode_t kParentMode = 0755;
constexpr size_t kShownBytes = 160;
constexpr int kMaxLinks = 40;  // as the kernel

// "/a//b/./c" → a, b, c.
Outcome<std::vector<std::string>> split_path(const std::string& path) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    std::string part = path.substr(begin, end - begin);
    if (part == "..") return fail(path + ": \"..\" is not allowed here", EINVAL);
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
    begin = end + 1;
  }
  return parts;
}

// The directory at `path`, whose parent is open. Another operation may make it at the same time.
base::Fd open_or_make(int root, const std::string& path, int parent, const char* name) {
  base::Fd directory = open_in_root(root, path.c_str(), O_PATH | O_DIRECTORY);
  if (directory || errno != ENOENT) return directory;
  const bool made = mkdirat(parent, name, kParentMode) == 0;
  if (!made && errno != EEXIST) return directory;
  directory = open_in_root(root, path.c_str(), O_PATH | O_DIRECTORY);
  if (!directory && !made && errno == ENOENT) errno = EEXIST;  // a link to nowhere
  return directory;
}

// Each step is resolved from the root again, so a link to an absolute path stays inside it.
Outcome<base::Fd> open_or_make_parent(int root, const std::vector<std::string>& parts) {
  base::Fd directory = open_in_root(root, ".", O_PATH | O_DIRECTORY);
  std::string path;
  for (size_t i = 0; directory && i + 1 < parts.size(); i++) {
    path += "/" + parts[i];
    directory = open_or_make(root, path, directory.get(), parts[i].c_str());
  }
  if (!directory) return fail_errno(path);
  return directory;
}

// The directory's path and the name of "/a/b/name//"; the name is empty for the root.
struct SplitName {
  std::string directory;
  std::string name;
};

SplitName split_name(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

Outcome<Place> open_place(int root, const std::string& path) {
  auto [directory, name] = split_name(path);
  if (name == "." || name == "..")
    return fail(shown_path(path) + ": does not end with a name", EINVAL);
  base::Fd parent = open_in_root(root, directory.c_str(), O_PATH | O_DIRECTORY);
  if (!parent) return fail_errno(shown_path(path));
  return Place{std::move(parent), name.empty() ? "." : std::move(name)};
}

}  // namespace

std::string shown_path(const std::string& path) {
  if (path.size() <= kShownBytes) return path;
  return "..." + path.substr(path.size() - kShownBytes);
}

bool is_link(const Place& place) {
  struct stat status{};
  return fstatat(place.parent.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISLNK(status.st_mode);
}

Outcome<Place> make_place(int root, const std::string& path) {
  auto parts = split_path(path);
  if (!parts) return fail(parts.error());
  if (parts->empty()) return Place{open_in_root(root, ".", O_PATH | O_DIRECTORY), "."};
  auto parent = open_or_make_parent(root, *parts);
  if (!parent) return fail(parent.error());
  return Place{std::move(*parent), std::move(parts->back())};
}

Outcome<std::string> read_link(int directory, const char* name) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = readlinkat(directory, name, target.data(), target.size());
  if (size < 0) return fail_errno(name);
  if (size == PATH_MAX) return fail_errno(name, ENAMETOOLONG);
  target.resize(static_cast<size_t>(size));
  return target;
}

Outcome<Place> find_place(int root, const std::string& path, LastLink last) {
  std::string at = path;
  for (int links = 0; links <= kMaxLinks; links++) {
    auto place = open_place(root, at);
    if (!place || last == LastLink::keep || !is_link(*place)) return place;
    const auto target = read_link(place->parent.get(), place->name.c_str());
    if (!target) return fail_errno(shown_path(path), target.error().error);
    at = target->starts_with('/') ? *target : split_name(at).directory + "/" + *target;
    if (at.size() >= PATH_MAX) return fail_errno(shown_path(path), ENAMETOOLONG);
  }
  return fail_errno(shown_path(path), ELOOP);
}

}  // namespace microvm::agent
