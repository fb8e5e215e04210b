#include "net/space/user_namespace.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "base/fd.hpp"
#include "net/space/sysctl.hpp"

namespace microvm::net::space {
namespace {

constexpr const char* kAppArmorSetting = "kernel/apparmor_restrict_unprivileged_userns";

base::Failure refused(ErrorCode code, const std::string& why) {
  return base::fail(code, "no network of its own for the microvm: " + why);
}

// Ubuntu from 23.10 on: the namespace is made, but without any right in it.
bool apparmor_restricts() {
  return read_sysctl(kAppArmorSetting) == "1";
}

base::Failure refused_by_permission() {
  if (apparmor_restricts()) {
    return refused(ErrorCode::permission_denied,
                   "apparmor takes the rights of user namespaces away: sysctl "
                   "kernel.apparmor_restrict_unprivileged_userns=0, or an apparmor profile with "
                   "'userns,' for the program");
  }
  if (read_sysctl("kernel/unprivileged_userns_clone") == "0") {
    return refused(ErrorCode::permission_denied,
                   "users may not make user namespaces: sysctl kernel.unprivileged_userns_clone=1");
  }
  return refused(ErrorCode::permission_denied,
                 "user namespaces are not permitted: a container needs a seccomp profile that "
                 "allows unshare, and no chroot");
}

base::Failure refused_namespace(const char* kind, int error) {
  if (error == EPERM || error == EACCES) return refused_by_permission();
  const std::string setting = std::string("user.max_") + kind + "_namespaces";
  if (error == ENOSPC || error == EUSERS) {
    return refused(ErrorCode::permission_denied,
                   "too many " + std::string(kind) + " namespaces: raise sysctl " + setting);
  }
  if (error == EINVAL || error == ENOSYS) {
    return refused(ErrorCode::unsupported,
                   "this kernel has no " + std::string(kind) + " namespaces");
  }
  return base::fail_errno(std::string("make a ") + kind + " namespace", error);
}

Result<void> write_map(const char* path, const std::string& text) {
  const base::Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
    return {};
  }
  if (errno == EPERM || errno == EACCES) return refused_by_permission();
  return base::fail_errno(std::string("write ") + path);
}

std::string map_to_itself(unsigned id) {
  return std::to_string(id) + " " + std::to_string(id) + " 1";
}

}  // namespace

Result<void> enter_user_namespace() {
  const std::string users = map_to_itself(::geteuid());
  const std::string groups = map_to_itself(::getegid());
  if (::unshare(CLONE_NEWUSER) != 0) return refused_namespace("user", errno);
  if (auto ok = write_map("/proc/self/setgroups", "deny"); !ok) return ok;
  if (auto ok = write_map("/proc/self/uid_map", users); !ok) return ok;
  return write_map("/proc/self/gid_map", groups);
}

Result<void> enter_network_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return refused_namespace("net", errno);
  return {};
}

Result<void> drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return base::fail_errno("drop privileges");
  return {};
}

}  // namespace microvm::net::space
