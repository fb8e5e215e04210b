#include "agent/clone/host_names.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kHostnameFile = "/etc/hostname";
constexpr const char* kHostsFile = "/etc/hosts";
// Lists of what is to be blocked come as hosts files; they are larger than any other.
constexpr size_t kMaxHostsBytes = 16 * 1024 * 1024;
constexpr const char* kLoopbackNames =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
constexpr std::string_view kOwnMark = "\t# the name of this microVM\n";
constexpr size_t kOwnNameWidth = 64;  // the longest name the wire carries has 63
// Of the file's beginning, where the line is put and usually found.
constexpr size_t kLookBytes = 4096;

// Always of one length: another name is another content of the same bytes.
std::string own_line(std::string_view hostname) {
  std::string name(hostname);
  name.resize(std::max(kOwnNameWidth, name.size()), ' ');
  return "127.0.1.1\t" + name + std::string(kOwnMark);
}

struct Line {
  size_t begin;
  size_t size;
};

// The first line with the mark; of size 0 when there is none.
Line find_own_line(std::string_view hosts) {
  const size_t mark = hosts.find(kOwnMark);
  if (mark == std::string_view::npos) return {0, 0};
  const size_t before = hosts.substr(0, mark).rfind('\n');
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  return {begin, mark + kOwnMark.size() - begin};
}

base::Fd open_regular(int root, const char* path, int access) {
  base::Fd file = open_in_root(root, path, access | O_NONBLOCK | O_NOCTTY);
  struct stat status{};
  if (file && (fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))) file.reset();
  return file;
}

bool write_at(int fd, std::string_view content, size_t offset) {
  return pwrite(fd, content.data(), content.size(), static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(content.size());
}

// In place, in one write: a clone need not read the disk's allocation maps for a new file, and its
// programs stand still. False: the line is not there, or not at the file's beginning.
bool renew_own_line(int root, std::string_view line) {
  const base::Fd file = open_regular(root, kHostsFile, O_RDONLY);
  std::array<char, kLookBytes> bytes{};
  const ssize_t count = file ? pread(file.get(), bytes.data(), bytes.size(), 0) : -1;
  if (count <= 0) return false;
  const std::string_view beginning(bytes.data(), static_cast<size_t>(count));
  const Line old = find_own_line(beginning);
  if (old.size != line.size()) return false;
  if (beginning.substr(old.begin, old.size) == line) return true;
  const base::Fd out = open_regular(root, kHostsFile, O_RDWR);
  return out && write_at(out.get(), line, old.begin);
}

std::string without_own_lines(std::string_view hosts) {
  std::string kept;
  for (Line own = find_own_line(hosts); own.size != 0; own = find_own_line(hosts)) {
    kept += hosts.substr(0, own.begin);
    hosts.remove_prefix(own.begin + own.size);
  }
  return kept.append(hosts);
}

std::string hosts_with(std::string_view line, std::string_view old) {
  const std::string rest = without_own_lines(old);
  const bool knows_localhost = rest.find("localhost") != std::string::npos;
  return (knows_localhost ? "" : kLoopbackNames) + std::string(line) + rest;
}

bool is_link(int root, const char* path) {
  const base::Fd file = open_in_root(root, path, O_PATH | O_NOFOLLOW);
  struct stat status{};
  return file && fstat(file.get(), &status) == 0 && S_ISLNK(status.st_mode);
}

// Links, and what something is mounted on, stay; the file they lead to gets the content.
Outcome<void> overwrite(int root, const char* path, std::string_view content) {
  const base::Fd file = open_regular(root, path, O_RDWR);
  if (!file) return fail_errno(path);
  // On a full disk it stays as it was, and is not overwritten by half.
  const auto size = static_cast<off_t>(content.size());
  if (const int error = posix_fallocate(file.get(), 0, size); error == ENOSPC)
    return fail_errno(path, error);
  if (!write_at(file.get(), content, 0) || ftruncate(file.get(), size) != 0)
    return fail_errno(path);
  return {};
}

// A new file, in one step; also in place of a link that leads nowhere.
Outcome<void> put_in_etc(int root, const char* name, std::string_view content, uint32_t mode) {
  const base::Fd top = open_in_root(root, "/", O_PATH | O_DIRECTORY);
  if (top) static_cast<void>(mkdirat(top.get(), "etc", 0755));
  return replace_file(root, "/etc", name, content, mode);
}

bool is_missing(const Failed& failure) {
  return failure.error == ENOENT || failure.error == ENOTDIR;
}

}  // namespace

Outcome<void> write_hostname(int root, std::string_view hostname) {
  const std::string content = std::string(hostname) + "\n";
  const auto old = read_file(root, kHostnameFile, kLookBytes);
  if (old && *old == content) return {};
  if (old) return overwrite(root, kHostnameFile, content);
  if (!is_missing(old.error())) return {};
  return put_in_etc(root, "hostname", content, 0644);
}

Outcome<void> write_hosts(int root, std::string_view hostname) {
  const std::string line = own_line(hostname);
  if (renew_own_line(root, line)) return {};
  auto old = read_file(root, kHostsFile, kMaxHostsBytes);
  if (!old && !is_missing(old.error())) return {};
  const bool keep_file = old && is_link(root, kHostsFile);
  const std::string content = hosts_with(line, old ? *old : "");
  if (keep_file) return overwrite(root, kHostsFile, content);
  if (put_in_etc(root, "hosts", content, 0644)) return {};
  return overwrite(root, kHostsFile, content);
}

}  // namespace microvm::agent
