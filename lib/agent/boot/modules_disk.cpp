#include "agent/boot/modules_disk.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kModulesDevice = "/dev/vdb";
constexpr size_t kMaxListBytes = 64 * 1024;

// As udev's rules have it: these look at who opens them by themselves.
constexpr const char* kForEverybody[] = {"/dev/fuse", "/dev/net/tun"};

void make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    mkdir(path.substr(0, at).c_str(), 0755);
  mkdir(path.c_str(), 0755);
}

// "tun net/tun c10:200" of modules.devname.
void make_device_node(const std::string& line) {
  char name[64];
  char type = 0;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (std::sscanf(line.c_str(), "%*63s %63s %c%u:%u", name, &type, &major_number, &minor_number) !=
          4 ||
      (type != 'c' && type != 'b'))
    return;
  const std::string path = std::string("/dev/") + name;
  make_directories(path.substr(0, path.rfind('/')));
  mknod(path.c_str(), (type == 'c' ? S_IFCHR : S_IFBLK) | 0600,
        makedev(major_number, minor_number));
}

void make_device_nodes(const std::string& list) {
  size_t begin = 0;
  while (begin < list.size()) {
    const size_t end = list.find('\n', begin);
    make_device_node(list.substr(begin, end - begin));
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  for (const char* path : kForEverybody) chmod(path, 0666);
}

}  // namespace

std::string modules_directory() {
  utsname name{};
  uname(&name);
  return std::string("/lib/modules/") + name.release;
}

Outcome<void> mount_modules_disk() {
  if (access(kModulesDevice, F_OK) != 0) return {};
  const std::string directory = modules_directory();
  make_directories(directory);
  // Nobody will write to its journal.
  if (mount(kModulesDevice, directory.c_str(), "ext4", MS_RDONLY | MS_NOSUID | MS_NODEV,
            "noload") != 0)
    return fail_errno(std::string("mount ") + kModulesDevice + " on " + directory);
  const base::Fd opened(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (const auto list = read_file(opened.get(), "modules.devname", kMaxListBytes))
    make_device_nodes(*list);
  return {};
}

}  // namespace microvm::agent
