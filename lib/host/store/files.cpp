#include "host/store/files.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace microvm::host {

using base::fail;
using base::fail_errno;
using std::filesystem::path;

namespace {

Result<void> rename_with(const path& from, const path& to, unsigned flags) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return {};
  // A directory that is there and not empty is reported either way.
  const int err = errno == ENOTEMPTY ? EEXIST : errno;
  return fail_errno("rename to " + to.string(), err);
}

Result<void> sync_parents(const path& from, const path& to) {
  if (auto synced = sync_path(to.parent_path()); !synced) return synced;
  if (from.parent_path() == to.parent_path()) return {};
  return sync_path(from.parent_path());
}

}  // namespace

Result<base::Fd> open_file(const path& path, int flags, unsigned mode) {
  base::Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) return fail_errno("open " + path.string());
  return fd;
}

Result<base::Fd> open_regular_file(const path& path) {
  auto fd = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) return fd;
  struct stat info{};
  if (::fstat(fd->get(), &info) != 0) return fail_errno("stat " + path.string());
  if (!S_ISREG(info.st_mode))
    return fail(ErrorCode::invalid_argument, path.string() + ": not a regular file");
  return fd;
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write " + name);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return {};
}

Result<void> pwrite_all(int fd, std::span<const std::byte> bytes, uint64_t offset,
                        const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("write " + name);
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<std::vector<std::byte>> read_file(const path& path, size_t max_bytes) {
  const auto fd = open_regular_file(path);
  if (!fd) return fail(fd.error());
  std::vector<std::byte> bytes;
  std::array<std::byte, 65536> chunk;
  for (;;) {
    const ssize_t count = ::read(fd->get(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + path.string());
    if (count == 0) return bytes;
    if (static_cast<size_t>(count) > max_bytes - bytes.size())
      return fail(ErrorCode::corrupt,
                  path.string() + ": larger than " + std::to_string(max_bytes) + " bytes");
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + count);
  }
}

Result<std::string> read_text_file(const path& path, size_t max_bytes) {
  const auto bytes = read_file(path, max_bytes);
  if (!bytes) return fail(bytes.error());
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

Result<void> sync_path(const path& path) {
  const auto fd = open_file(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return fail(fd.error());
  if (::fsync(fd->get()) != 0) return fail_errno("sync " + path.string());
  return {};
}

Result<void> replace_file(const path& path, std::string_view text) {
  const std::filesystem::path temporary = path.string() + "~" + random_name();
  const auto write = [&]() -> Result<void> {
    const auto fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (!fd) return fail(fd.error());
    if (auto written = write_all(fd->get(), std::as_bytes(std::span(text)), path.string());
        !written)
      return written;
    if (::fsync(fd->get()) != 0) return fail_errno("sync " + path.string());
    if (auto renamed = rename_with(temporary, path, 0); !renamed) return renamed;
    return sync_path(path.parent_path());
  };
  auto result = write();
  if (!result) ::unlink(temporary.c_str());
  return result;
}

Result<void> rename_new(const path& from, const path& to) {
  if (auto renamed = rename_with(from, to, RENAME_NOREPLACE); !renamed) return renamed;
  return sync_parents(from, to);
}

Result<void> rename_swap(const path& a, const path& b) {
  if (auto renamed = rename_with(a, b, RENAME_EXCHANGE); !renamed) return renamed;
  return sync_parents(a, b);
}

Result<void> make_dir(const path& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return fail_errno("create " + path.string());
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail_errno("stat " + path.string());
  if (!S_ISDIR(info.st_mode))
    return fail(ErrorCode::already_exists, path.string() + ": exists and is not a directory");
  return {};
}

void remove_tree(const path& path) noexcept {
  std::error_code ignored;
  // Somebody else removing the same tree makes one attempt stop early, not fail.
  for (int attempt = 0; attempt < 3; ++attempt) {
    std::filesystem::remove_all(path, ignored);
    if (!ignored) return;
  }
}

Result<std::vector<std::string>> list_dir(const path& path) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(path, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  if (error) return fail_errno("list " + path.string(), error.value());
  for (; it != std::filesystem::directory_iterator(); it.increment(error)) {
    names.push_back(it->path().filename().string());
    if (error) break;
  }
  if (error) return fail_errno("list " + path.string(), error.value());
  std::ranges::sort(names);
  return names;
}

std::string random_name() {
  uint64_t value = 0;
  // Cannot fail for 8 bytes once the kernel's pool is ready; a clash is caught by O_EXCL and mkdir.
  [[maybe_unused]] const auto count = ::getrandom(&value, sizeof value, 0);
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

}  // namespace microvm::host
