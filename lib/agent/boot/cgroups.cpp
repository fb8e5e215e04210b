#include "agent/boot/cgroups.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "agent/base/file.hpp"

namespace microvm::agent {
namespace {

constexpr const char* kMountPoint = "/sys/fs/cgroup";
constexpr const char* kProgramGroup = "microvm";
constexpr size_t kMaxListBytes = 4096;

Outcome<void> mount_cgroups() {
  if (mount("cgroup2", kMountPoint, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return fail_errno(std::string("mount ") + kMountPoint);
  return {};
}

Outcome<base::Fd> open_directory(int at, const char* path) {
  base::Fd directory(openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno(path);
  return directory;
}

// "cpuset cpu io memory pids": one that the kernel does not let go of is not offered.
void offer_controllers(const base::Fd& root) {
  const auto list = read_file(root.get(), "cgroup.controllers", kMaxListBytes);
  if (!list) return;
  size_t begin = 0;
  while (begin < list->size()) {
    const size_t end = std::min(list->find_first_of(" \n", begin), list->size());
    const std::string name = list->substr(begin, end - begin);
    begin = end + 1;
    if (!name.empty())
      static_cast<void>(write_file_at(root.get(), "cgroup.subtree_control", "+" + name));
  }
}

// A view of the groups begins where the process was that asked for it.
Outcome<void> begin_view_at(const base::Fd& root, const base::Fd& group) {
  if (auto entered = write_file_at(group.get(), "cgroup.procs", "0"); !entered) return entered;
  if (unshare(CLONE_NEWCGROUP) != 0) return fail_errno("a view of the control groups");
  if (auto left = write_file_at(root.get(), "cgroup.procs", "0"); !left) return left;
  if (umount2(kMountPoint, MNT_DETACH) != 0) return fail_errno(kMountPoint);
  return mount_cgroups();
}

}  // namespace

Outcome<base::Fd> set_up_cgroups() {
  if (auto mounted = mount_cgroups(); !mounted) return fail(mounted.error());
  auto root = open_directory(AT_FDCWD, kMountPoint);
  if (!root) return root;
  if (mkdirat(root->get(), kProgramGroup, 0755) != 0) return fail_errno(kProgramGroup);
  auto group = open_directory(root->get(), kProgramGroup);
  if (!group) return group;
  if (auto begun = begin_view_at(*root, *group); !begun) return fail(begun.error());
  offer_controllers(*root);
  return group;
}

}  // namespace microvm::agent
