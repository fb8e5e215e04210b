#include "unit/file_calls.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace microvm::test {
namespace {

namespace fs = std::filesystem;

std::atomic<FileCalls*> recording{nullptr};
thread_local bool looking = false;

fs::path path_of(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  std::array<char, 4096> target{};
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length <= 0 ? fs::path()
                     : fs::path(std::string(target.data(), static_cast<size_t>(length)));
}

fs::path path_of(int directory, const char* path) {
  const fs::path given(path);
  if (given.is_absolute()) return given;
  return (directory == AT_FDCWD ? fs::current_path() : path_of(directory)) / given;
}

}  // namespace

FileCalls::FileCalls(fs::path directory) : directory_(fs::canonical(directory)) {
  FileCalls* nobody = nullptr;
  REQUIRE(recording.compare_exchange_strong(nobody, this));
}

FileCalls::~FileCalls() {
  recording = nullptr;
}

void FileCalls::fail(size_t number, int error) {
  failing_ = number;
  error_ = error;
}

std::vector<FileCall> FileCalls::all() const {
  const std::scoped_lock lock(mutex_);
  return calls_;
}

std::vector<std::string> FileCalls::list() const {
  std::vector<std::string> lines;
  for (const FileCall& call : all()) {
    if (call.what == "lock") continue;
    std::string line = call.what + " " + call.file;
    if (!call.to.empty()) line += " " + call.to;
    if (lines.empty() || lines.back() != line) lines.push_back(std::move(line));
  }
  return lines;
}

size_t FileCalls::count() const {
  const std::scoped_lock lock(mutex_);
  return count_;
}

int FileCalls::on_call(const char* what, int fd, uint64_t offset) {
  FileCalls* const self = recording;
  if (self == nullptr || looking) return 0;
  const fs::path path = path_of(fd);
  return self->is_below(path) ? self->record({what, self->name_of(path), {}, offset}) : 0;
}

int FileCalls::on_call(const char* what, int directory, const char* path, int to_directory,
                       const char* to) {
  FileCalls* const self = recording;
  if (self == nullptr || looking) return 0;
  const fs::path from_path = path_of(directory, path);
  const fs::path to_path = path_of(to_directory, to);
  if (!self->is_below(to_path)) return 0;
  return self->record({what, self->name_of(from_path), self->name_of(to_path)});
}

int FileCalls::record(FileCall call) {
  const bool can_fail = call.what != "lock";
  if (look_) {
    looking = true;
    look_(call);
    looking = false;
  }
  const std::scoped_lock lock(mutex_);
  calls_.push_back(std::move(call));
  if (!can_fail) return 0;
  return ++count_ == failing_ ? error_ : 0;
}

bool FileCalls::is_below(const fs::path& path) const {
  const std::string root = directory_.string();
  return path == directory_ || path.string().starts_with(root + "/");
}

// Random names are sixteen hexadecimal digits, digests are more.
std::string FileCalls::name_of(const fs::path& path) const {
  std::string name = is_below(path) ? path.lexically_relative(directory_).string() : path.string();
  constexpr size_t kDigits = 16;
  constexpr std::string_view kHex = "0123456789abcdef";
  for (size_t at = 0; at < name.size();) {
    const size_t end = std::min(name.find_first_not_of(kHex, at), name.size());
    if (end - at == kDigits) {
      name.replace(at, kDigits, "*");
      ++at;
    } else {
      at = end + 1;
    }
  }
  return name;
}

std::string in_a_row(const std::vector<std::string>& lines) {
  std::string row;
  for (const std::string& line : lines) row += (row.empty() ? "" : ", ") + line;
  return row;
}

namespace {

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

bool fails(int error) {
  if (error != 0) errno = error;
  return error != 0;
}

}  // namespace
}  // namespace microvm::test

using microvm::test::fails;
using microvm::test::FileCalls;
using microvm::test::next;

extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  return fails(FileCalls::on_call("write", fd)) ? -1 : real(fd, bytes, size);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  const int error = FileCalls::on_call("write", fd, static_cast<uint64_t>(offset));
  return fails(error) ? -1 : real(fd, bytes, size, offset);
}
int ftruncate64(int fd, off64_t size) noexcept {
  static const auto real = next<int (*)(int, off64_t)>("ftruncate64");
  return fails(FileCalls::on_call("size", fd)) ? -1 : real(fd, size);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  static const auto real = next<int (*)(int, int, off64_t, off64_t)>("fallocate64");
  const int error = FileCalls::on_call("hole", fd, static_cast<uint64_t>(offset));
  return fails(error) ? -1 : real(fd, mode, offset, length);
}
int fsync(int fd) {
  static const auto real = next<int (*)(int)>("fsync");
  return fails(FileCalls::on_call("sync", fd)) ? -1 : real(fd);
}
int fdatasync(int fd) {
  static const auto real = next<int (*)(int)>("fdatasync");
  return fails(FileCalls::on_call("sync", fd)) ? -1 : real(fd);
}
int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  const int error = FileCalls::on_call("rename", AT_FDCWD, from, AT_FDCWD, to);
  return fails(error) ? -1 : real(from, to);
}
int renameat(int from_dir, const char* from, int to_dir, const char* to) noexcept {
  static const auto real = next<int (*)(int, const char*, int, const char*)>("renameat");
  const int error = FileCalls::on_call("rename", from_dir, from, to_dir, to);
  return fails(error) ? -1 : real(from_dir, from, to_dir, to);
}
int renameat2(int from_dir, const char* from, int to_dir, const char* to, unsigned flags) noexcept {
  static const auto real = next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2");
  const int error = FileCalls::on_call("rename", from_dir, from, to_dir, to);
  return fails(error) ? -1 : real(from_dir, from, to_dir, to, flags);
}
int link(const char* from, const char* to) noexcept {
  static const auto real = next<int (*)(const char*, const char*)>("link");
  const int error = FileCalls::on_call("link", AT_FDCWD, from, AT_FDCWD, to);
  return fails(error) ? -1 : real(from, to);
}
int flock(int fd, int operation) noexcept {
  static const auto real = next<int (*)(int, int)>("flock");
  if (operation != LOCK_UN) static_cast<void>(FileCalls::on_call("lock", fd));
  return real(fd, operation);
}
}
