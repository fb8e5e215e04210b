#include "host/transfer/directory_sink.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "host/base/printable.hpp"
#include "host/image/archive_reader.hpp"
#include "host/store/files.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/times.hpp"

namespace microvm::host {
namespace {

base::Fd open_below(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const char* name = path.empty() ? "." : path.c_str();
  return base::Fd(static_cast<int>(syscall(SYS_openat2, root, name, &how, sizeof how)));
}

// One per thread, in a directory where only this makes such names.
std::string temporary_name() {
  return ".microvm-get-" + std::to_string(::getpid()) + "-" + std::to_string(::gettid());
}

std::array<timespec, 2> times_of(const FileInfo& info) {
  int64_t seconds = info.mtime_ns / kNsPerSecond;
  if (info.mtime_ns % kNsPerSecond < 0) --seconds;
  const timespec time{.tv_sec = seconds, .tv_nsec = info.mtime_ns - seconds * kNsPerSecond};
  return {time, time};
}

bool is_below(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.starts_with(directory) &&
         path[directory.size()] == '/';
}

}  // namespace

Result<DirectorySink> DirectorySink::open(const std::filesystem::path& directory, std::string name,
                                          Owners owners) {
  base::Fd root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root && errno == ENOTDIR) return not_a_directory(directory.string());
  if (!root) return base::fail_errno("open " + directory.string());
  return DirectorySink(std::move(root), std::move(name), owners);
}

DirectorySink::~DirectorySink() {
  if (file_) ::unlinkat(parent_.get(), temporary_name().c_str(), 0);
}

void DirectorySink::begin_again() {
  if (file_) ::unlinkat(parent_.get(), temporary_name().c_str(), 0);
  file_.reset();
  made_.clear();  // they are met again, and known by own_
  linked_.clear();
}

base::Failure DirectorySink::failed(const std::string& path, int err) const {
  if (err == ENOTDIR || err == EISDIR || err == ELOOP) {
    return base::fail(
        ErrorCode::invalid_argument,
        "write " + printable(path) + ": " +
            (err == EISDIR ? "a directory is in its place" : "its directory is none, or a link"));
  }
  return base::fail_errno("write " + printable(path), err);
}

// Leaves the directories that this entry is not in, and opens the one that it is in.
Result<void> DirectorySink::enter(const std::string& path) {
  while (!made_.empty() && !is_below(path, made_.back().path)) {
    if (auto left = leave_directory(); !left) return left;
  }
  const size_t slash = path.rfind('/');
  last_name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string parent = slash == std::string::npos ? std::string() : path.substr(0, slash);
  parent_ = open_below(root_.get(), parent, O_RDONLY | O_DIRECTORY);
  if (!parent_) return failed(path);
  return {};
}

std::string DirectorySink::path_of(const std::string& path) const {
  return name_ == kOnlyContent ? path : join(name_, path);
}

Result<void> DirectorySink::begin(const TreeEntry& entry) {
  const FileInfo& info = entry.info;
  if (info.name.empty() && name_ == kOnlyContent) {
    if (info.type == FileType::directory) return {};
    return not_a_directory("copy files");
  }
  path_ = path_of(info.name);
  if (auto entered = enter(path_); !entered) return entered;
  if (info.type == FileType::directory) return make_directory(info);
  const std::string temporary = temporary_name();
  ::unlinkat(parent_.get(), temporary.c_str(), 0);
  if (info.type == FileType::symlink) return make_link(info);
  if (!entry.hard_link_to.empty()) return make_hard_link(entry.hard_link_to);
  entry_ = entry;
  file_.reset(::openat(parent_.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) return failed(path_);
  return {};
}

Result<void> DirectorySink::make_directory(const FileInfo& info) {
  if (::mkdirat(parent_.get(), last_name_.c_str(), 0700) == 0) {
    own_.insert(path_);
    made_.push_back({path_, info});
    return {};
  }
  if (errno != EEXIST) return failed(path_);
  const base::Fd existing = open_below(parent_.get(), last_name_, O_PATH | O_DIRECTORY);
  if (!existing) return failed(path_, ENOTDIR);
  if (!own_.contains(path_)) return {};
  // It may have its mode already, from an attempt before.
  // By the descriptor: the name may be a link by now, and that would be followed.
  const std::string opened = "/proc/self/fd/" + std::to_string(existing.get());
  if (::chmod(opened.c_str(), 0700) != 0) return failed(path_);
  made_.push_back({path_, info});
  return {};
}

// Only to a file that this has just made, whatever is at its path by now.
Result<void> DirectorySink::make_hard_link(const std::string& to) {
  const auto known = linked_.find(to);
  if (known == linked_.end()) {
    return base::fail(ErrorCode::protocol,
                      "copy files: the agent sent a hard link to a file that it had not sent");
  }
  const std::string path = path_of(to);
  const size_t slash = path.rfind('/');
  const bool is_top = slash == std::string::npos;
  const base::Fd directory =
      open_below(root_.get(), is_top ? "" : path.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (!directory) return failed(path);
  const std::string temporary = temporary_name();
  const char* name = path.c_str() + (is_top ? 0 : slash + 1);
  if (::linkat(directory.get(), name, parent_.get(), temporary.c_str(), 0) != 0) {
    return failed(path_);
  }
  struct stat status{};
  const bool is_ours =
      ::fstatat(parent_.get(), temporary.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      std::pair(status.st_dev, status.st_ino) == known->second;
  if (is_ours) return put_in_place();
  ::unlinkat(parent_.get(), temporary.c_str(), 0);
  return base::fail(ErrorCode::busy, "write " + printable(path) + ": changed under the copy");
}

Result<void> DirectorySink::make_link(const FileInfo& info) {
  const std::string temporary = temporary_name();
  if (::symlinkat(info.link_target.c_str(), parent_.get(), temporary.c_str()) != 0) {
    return failed(path_);
  }
  if (owners_ == Owners::kept) {
    // As far as this process may: the documented meaning.
    [[maybe_unused]] const int set =
        ::fchownat(parent_.get(), temporary.c_str(), info.uid, info.gid, AT_SYMLINK_NOFOLLOW);
  }
  ::utimensat(parent_.get(), temporary.c_str(), times_of(info).data(), AT_SYMLINK_NOFOLLOW);
  return put_in_place();
}

Result<void> DirectorySink::data(wire::ByteView bytes) {
  return write_all(file_.get(), bytes, printable(path_));
}

Result<void> DirectorySink::hole(uint64_t bytes) {
  if (::lseek(file_.get(), static_cast<off_t>(bytes), SEEK_CUR) < 0) return failed(path_);
  return {};
}

Result<void> DirectorySink::end_file() {
  const auto size = static_cast<off_t>(entry_.info.size_bytes);
  if (entry_.extents && ::ftruncate(file_.get(), size) != 0) return failed(path_);
  if (auto set = set_attributes(file_.get(), entry_.info, path_); !set) return set;
  if (auto put = put_in_place(); !put) return put;
  if (auto remembered = remember_file(); !remembered) return remembered;
  file_.reset();
  return {};
}

Result<void> DirectorySink::remember_file() {
  if (!entry_.named_again) return {};
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) return failed(path_);
  linked_[entry_.info.name] = {status.st_dev, status.st_ino};
  return {};
}

Result<void> DirectorySink::put_in_place() {
  const std::string temporary = temporary_name();
  const bool done =
      ::renameat(parent_.get(), temporary.c_str(), parent_.get(), last_name_.c_str()) == 0;
  const int err = errno;
  // Still there after a failure, and where both were names of one file already.
  ::unlinkat(parent_.get(), temporary.c_str(), 0);
  return done ? Result<void>() : failed(path_, err);
}

// No set-id bits: a guest does not say what runs with this user's rights.
Result<void> DirectorySink::set_attributes(int fd, const FileInfo& info,
                                           const std::string& path) const {
  if (owners_ == Owners::kept) {
    [[maybe_unused]] const int set = ::fchown(fd, info.uid, info.gid);  // as far as it may
  }
  if (::fchmod(fd, info.mode & 0777) != 0 || ::futimens(fd, times_of(info).data()) != 0) {
    return failed(path);
  }
  return {};
}

Result<void> DirectorySink::leave_directory() {
  const Open left = std::move(made_.back());
  made_.pop_back();
  const base::Fd fd = open_below(root_.get(), left.path, O_RDONLY | O_DIRECTORY);
  if (!fd) return failed(left.path);
  return set_attributes(fd.get(), left.info, left.path);
}

Result<void> DirectorySink::finish() {
  while (!made_.empty()) {
    if (auto left = leave_directory(); !left) return left;
  }
  return {};
}

}  // namespace microvm::host
