// A case that changes networks and mounts runs in a child with namespaces of its own.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/fd.hpp"

namespace microvm::agent {

enum class Ended { good, wrong, not_to_be_had };

inline bool write_text(const char* path, const std::string& text) {
  const base::Fd file(open(path, O_WRONLY | O_CLOEXEC));
  return file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Root in a user namespace, with a network and mounts of its own.
inline bool enter_namespaces() {
  const std::string uids = "0 " + std::to_string(geteuid()) + " 1";
  const std::string gids = "0 " + std::to_string(getegid()) + " 1";
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0) return false;
  return write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", uids) &&
         write_text("/proc/self/gid_map", gids) &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// The end that is told "wrong" says why on standard error.
template <class Case>
Ended in_namespace(Case work) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (!enter_namespaces()) _exit(2);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return Ended::wrong;
  return WEXITSTATUS(status) == 0   ? Ended::good
         : WEXITSTATUS(status) == 2 ? Ended::not_to_be_had
                                    : Ended::wrong;
}

// A directory as the mounts of this namespace have it: a descriptor of before is of the old ones.
inline base::Fd open_here(const std::filesystem::path& directory) {
  return base::Fd(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Like Ethernet; none: /dev/net/tun is not to be had.
inline base::Fd make_tap(const char* name) {
  base::Fd tap(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ifreq request{};
  std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (tap && ioctl(tap.get(), TUNSETIFF, &request) != 0) tap.reset();
  return tap;
}

}  // namespace microvm::agent
