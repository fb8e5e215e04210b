#include "host/image/context.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>

#include "host/image/plain_text.hpp"
#include "host/store/files.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIgnoreBytes = 1u << 20;

base::Failure outside(const std::string& source) {
  return base::fail(ErrorCode::invalid_argument,
                    "source " + source + " is outside the build context: move it into the context");
}

base::Failure missing(const std::string& source) {
  return base::fail(
      ErrorCode::not_found,
      "source " + source + " is not in the build context (or .dockerignore hides it)");
}

// Opens below `root` and never outside, whatever links are on the way.
base::Fd open_beneath(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const char* name = path.empty() ? "." : path.c_str();
  return base::Fd(static_cast<int>(syscall(SYS_openat2, root, name, &how, sizeof how)));
}

std::string clean(const std::string& source) {
  std::string path = ("/" / fs::path(source)).relative_path().lexically_normal().string();
  while (path.ends_with('/')) path.pop_back();
  return path == "." ? std::string() : path;
}

FileToPut describe(const struct stat& info, const std::string& target) {
  FileToPut file;
  file.path = target;
  file.mode = info.st_mode & 07777u;
  file.mtime_ns = info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec;
  return file;
}

// One file, directory or link as it stands; other kinds can not be copied.
Result<FileToPut> describe_entry(const fs::path& path, const std::string& target) {
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) return base::fail_errno("stat " + path.string());
  FileToPut file = describe(info, target);
  if (S_ISREG(info.st_mode)) {
    file.source = path;
  } else if (S_ISDIR(info.st_mode)) {
    file.type = FileToPut::Type::directory;
  } else if (S_ISLNK(info.st_mode)) {
    std::error_code error;
    file.type = FileToPut::Type::symlink;
    file.link_target = fs::read_symlink(path, error).string();
    if (error) return base::fail_errno("read link " + path.string(), error.value());
  } else {
    return base::fail(ErrorCode::invalid_argument,
                      path.string() + ": only files, directories and links can be copied");
  }
  return file;
}

Result<std::vector<fs::path>> list_directory(const fs::path& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) return base::fail_errno("read directory " + path.string(), error.value());
  std::vector<fs::path> names;
  for (; entries != fs::directory_iterator(); entries.increment(error)) {
    names.push_back(entries->path().filename());
    if (error) return base::fail_errno("read directory " + path.string(), error.value());
  }
  std::ranges::sort(names);
  return names;
}

// A .dockerignore that is there counts, or the build fails: what it hides may be secret.
Result<IgnoreRules> read_ignore_rules(const fs::path& path) {
  const auto bytes = read_text_file(path, kMaxIgnoreBytes);
  std::error_code error;
  const bool is_there = fs::symlink_status(path, error).type() != fs::file_type::not_found;
  if (!bytes && !is_there) return IgnoreRules();
  if (!bytes && bytes.error().code == ErrorCode::corrupt) {
    return base::fail(ErrorCode::invalid_argument, ".dockerignore is larger than 1 MiB");
  }
  if (!bytes) return base::fail(bytes.error());
  const auto text = plain_text(*bytes, path.string());
  if (!text) return base::fail(text.error());
  return IgnoreRules::parse(*text);
}

}  // namespace

Result<BuildContext> BuildContext::open(const fs::path& directory) {
  std::error_code error;
  BuildContext out;
  out.root_ = fs::canonical(directory, error);
  if (error) return base::fail_errno("build context " + directory.string(), error.value());
  out.root_fd_.reset(::open(out.root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!out.root_fd_) return base::fail_errno("build context " + directory.string());
  auto rules = read_ignore_rules(out.root_ / ".dockerignore");
  if (!rules) return base::fail(rules.error());
  out.ignore_ = std::move(*rules);
  return out;
}

Result<std::vector<BuildContext::Source>> BuildContext::resolve(const std::string& source) const {
  const fs::path normal = fs::path(source).relative_path().lexically_normal();
  if (!normal.empty() && *normal.begin() == "..") return outside(source);
  const std::string path = clean(source);
  if (!has_wildcard(path)) {
    auto one = resolve_one(path);
    if (!one) return base::fail(one.error());
    return std::vector<Source>{std::move(*one)};
  }
  const fs::path parent = fs::path(path).parent_path();
  if (has_wildcard(parent.string())) {
    return base::fail(ErrorCode::unsupported,
                      "source " + source + ": a wildcard is supported in the last component only");
  }
  const auto directory = resolve_one(parent.string());
  if (!directory) return base::fail(directory.error());
  const auto names = list_directory(root_ / directory->path);
  if (!names) return base::fail(names.error());
  std::vector<Source> out;
  for (const fs::path& name : *names) {
    const std::string candidate = (fs::path(directory->path) / name).string();
    if (!matches_pattern(fs::path(path).filename().string(), name.string())) continue;
    if (ignore_.ignores(candidate)) continue;
    auto one = resolve_one(candidate);
    if (!one) return base::fail(one.error());
    out.push_back(std::move(*one));
  }
  if (out.empty()) return missing(source);
  return out;
}

Result<BuildContext::Source> BuildContext::resolve_one(const std::string& path) const {
  if (!path.empty() && ignore_.ignores(path)) return missing(path);
  const base::Fd fd = open_beneath(root_fd_.get(), path);
  if (!fd) {
    if (errno == EXDEV) return outside(path);
    if (errno == ENOENT || errno == ENOTDIR) return missing(path);
    return base::fail_errno("open " + path);
  }
  struct stat info{};
  if (fstat(fd.get(), &info) != 0) return base::fail_errno("stat " + path);
  // The name without links, so that what is opened later is what was checked here.
  std::error_code error;
  const fs::path real = fs::read_symlink("/proc/self/fd/" + std::to_string(fd.get()), error);
  if (error) return base::fail_errno("resolve " + path, error.value());
  const std::string relative = real.lexically_relative(root_).string();
  return Source{relative == "." ? std::string() : relative, S_ISDIR(info.st_mode)};
}

Result<void> BuildContext::collect(const Source& source, const std::string& target,
                                   std::vector<FileToPut>& out) const {
  auto self = describe_entry(root_ / source.path, target);
  if (!self) return base::fail(self.error());
  if (!source.directory) {
    out.push_back(std::move(*self));
    return {};
  }
  // The target directory itself keeps the mode it has or gets the default one, as docker does it.
  return collect_directory(source.path, target, out);
}

Result<void> BuildContext::collect_directory(const fs::path& relative, const std::string& target,
                                             std::vector<FileToPut>& out) const {
  const auto names = list_directory(root_ / relative);
  if (!names) return base::fail(names.error());
  for (const fs::path& name : *names) {
    const fs::path path = relative / name;
    auto file = describe_entry(root_ / path, (fs::path(target) / name).string());
    if (!file) return base::fail(file.error());
    const bool directory = file->type == FileToPut::Type::directory;
    const std::string below = file->path;
    // An ignored directory may hold files that a later rule keeps: it is walked, not skipped.
    if (!ignore_.ignores(path.string())) out.push_back(std::move(*file));
    if (out.size() > kMaxContextFiles) {
      return base::fail(ErrorCode::invalid_argument,
                        "more than " + std::to_string(kMaxContextFiles) +
                            " files to copy: list what is not needed in .dockerignore");
    }
    if (!directory) continue;
    if (auto walked = collect_directory(path, below, out); !walked) return walked;
  }
  return {};
}

}  // namespace microvm::host
