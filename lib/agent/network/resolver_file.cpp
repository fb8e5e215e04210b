#include "agent/network/resolver_file.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kPath = "/etc/resolv.conf";
constexpr const char* kDirectory = "/etc";
constexpr mode_t kMode = 0644;
// Of the file system it is in: a program that writes to it for ever fills no more memory.
constexpr const char* kOptions = "mode=755,size=64k";

// Of an absolute path in the root.
void make_parents(int root, const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string directory = path.substr(0, slash);
    if (open_in_root(root, directory.c_str(), O_PATH)) continue;
    const size_t above = directory.rfind('/');
    const base::Fd parent =
        open_in_root(root, above == 0 ? "/" : directory.substr(0, above).c_str(), O_PATH);
    if (parent) static_cast<void>(mkdirat(parent.get(), &directory[above + 1], 0755));
  }
}

// What the link names, which is not there: as an absolute path in the root; empty: it is no link.
std::string link_target(int root) {
  const base::Fd etc = open_in_root(root, kDirectory, O_PATH | O_DIRECTORY);
  char text[4096];
  const ssize_t size = etc ? readlinkat(etc.get(), "resolv.conf", text, sizeof text) : -1;
  if (size <= 0) return {};
  const std::string target(text, static_cast<size_t>(size));
  return target.starts_with('/') ? target : std::string(kDirectory) + "/" + target;
}

Outcome<void> make_empty(int root) {
  const std::string target = link_target(root);
  const std::string path = target.empty() ? kPath : target;
  make_parents(root, path);
  const size_t slash = path.rfind('/');
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  const base::Fd parent = open_in_root(root, directory.c_str(), O_PATH | O_DIRECTORY);
  const base::Fd made(parent ? openat(parent.get(), &path[slash + 1],
                                      O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kMode)
                             : -1);
  if (!made) return fail_errno(path);
  return {};
}

// What is to be mounted on: a regular file.
Outcome<base::Fd> open_place(int root) {
  base::Fd place = open_in_root(root, kPath, O_PATH);
  if (!place && errno == ENOENT) {
    if (auto made = make_empty(root); !made) return fail(made.error());
    place = open_in_root(root, kPath, O_PATH);
  }
  struct stat status{};
  if (!place || fstat(place.get(), &status) != 0) return fail_errno(kPath);
  if (!S_ISREG(status.st_mode)) return fail(std::string(kPath) + ": not a regular file", EINVAL);
  return place;
}

Outcome<base::Fd> mount_on(const base::Fd& place, const std::string& file) {
  base::Fd opened(open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
  if (!opened) return fail_errno(file);
  const std::string target = "/proc/self/fd/" + std::to_string(place.get());
  if (::mount(file.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0)
    return fail_errno(std::string("mount on ") + kPath);
  return opened;
}

std::string text_of(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(address.is_ipv6() ? AF_INET6 : AF_INET, address.bytes.data(), text, sizeof text);
  return text;
}

}  // namespace

std::string resolver_text(const std::vector<IpAddress>& servers, std::string_view search) {
  std::string text = "# of this microVM's network, not of its image\n";
  for (const IpAddress& server : servers) text += "nameserver " + text_of(server) + "\n";
  if (!search.empty()) text += "search " + std::string(search) + "\n";
  return text;
}

Outcome<void> ResolverFile::mount(int root, const char* staging) {
  const auto place = open_place(root);
  if (!place) return fail(place.error());
  if (::mount("tmpfs", staging, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, kOptions) != 0)
    return fail_errno("a file system for resolv.conf");
  auto file = mount_on(*place, std::string(staging) + "/resolv.conf");
  umount2(staging, MNT_DETACH);
  if (!file) return fail(file.error());
  file_ = std::move(*file);
  return {};
}

Outcome<void> ResolverFile::write(std::string_view content) {
  if (!file_ || content == written_) return {};
  const auto size = static_cast<off_t>(content.size());
  if (pwrite(file_.get(), content.data(), content.size(), 0) != size ||
      ftruncate(file_.get(), size) != 0)
    return fail_errno(kPath);
  written_ = content;
  return {};
}

}  // namespace microvm::agent
