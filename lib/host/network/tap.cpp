// A tap of the embedder's.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "host/network/vm_network.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"

namespace microvm::host {
namespace {

constexpr int kVirtioHeaderBytes = 12;
constexpr const char* kTunDevice = "/dev/net/tun";

Result<base::Fd> open_tun_device() {
  base::Fd tun(::open(kTunDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (tun) return tun;
  const int err = errno;
  std::string message = base::fail_errno(std::string("open ") + kTunDevice, err).value().message;
  if (err == ENOENT || err == ENODEV || err == ENXIO) {
    return base::fail(ErrorCode::unsupported, message + ": load the module (modprobe tun)");
  }
  return base::fail(ErrorCode::permission_denied,
                    message + ": let this user read and write it (chmod 666 is usual)");
}

Result<void> set_header_size(const base::Fd& tap, const std::string& what) {
  int size = kVirtioHeaderBytes;
  if (::ioctl(tap.get(), TUNSETVNETHDRSZ, &size) == 0) return {};
  return base::fail_errno(what + ": set the size of its header");
}

}  // namespace

// Where no tap of that name is there this would make one, for who may.
Result<base::Fd> open_tap(const std::string& name) {
  auto tap = open_tun_device();
  if (!tap) return tap;
  ifreq request{};
  std::copy_n(name.begin(), std::min(name.size(), kMaxInterfaceName), request.ifr_name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const std::string what = "open tap " + name;
  if (::ioctl(tap->get(), TUNSETIFF, &request) != 0) {
    const int err = errno;
    const std::string advice = err == EPERM
                                   ? ": make it for this user (ip tuntap add " + name +
                                         " mode tap user " + std::to_string(::getuid()) + ")"
                               : err == EBUSY ? ": one microvm has it already"
                                              : "";
    auto failure = base::fail_errno(what, err);
    return base::fail(failure.value().code, failure.value().message + advice);
  }
  if (auto ok = set_header_size(*tap, what); !ok) return base::fail(ok.error());
  return tap;
}

Result<base::Fd> adopt_tap(int fd) {
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) != 0) {
    return base::fail(ErrorCode::invalid_argument, "tap network: the fd is not of a tap");
  }
  constexpr int kNeeded = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if ((request.ifr_flags & kNeeded) != kNeeded) {
    return base::fail(ErrorCode::invalid_argument,
                      "tap network: the fd needs IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
  }
  auto tap = sys::duplicate(fd, "keep the tap");
  if (!tap) return tap;
  if (auto ok = sys::set_nonblocking(tap->get()); !ok) return base::fail(ok.error());
  if (auto ok = set_header_size(*tap, "tap network"); !ok) return base::fail(ok.error());
  return tap;
}

}  // namespace microvm::host
