#include "net/space/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>

// Linux 6.2; the headers of Debian 12 are older.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace microvm::net::space {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";

Result<base::Fd> open_tun() {
  base::Fd fd(::open(kTunDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (fd) return fd;
  const std::string what = std::string("open ") + kTunDevice;
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return base::fail(ErrorCode::not_found, what +
                                                ": not there: load the module tun (modprobe tun), "
                                                "or give the container the device");
  }
  if (errno == EACCES || errno == EPERM) {
    return base::fail(ErrorCode::permission_denied,
                      what + ": permission denied: chmod 0666 " + kTunDevice +
                          ", as udev sets it, or allow the container the device");
  }
  return base::fail_errno(what);
}

// The most that this kernel has.
uint32_t set_offloads(int fd) {
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  for (const unsigned wanted :
       std::to_array<unsigned>({kTcp | TUN_F_USO4 | TUN_F_USO6, kTcp, TUN_F_CSUM})) {
    if (::ioctl(fd, TUNSETOFFLOAD, wanted) == 0) return wanted;
  }
  return 0;
}

}  // namespace

Result<Tap> make_tap(const std::string& name) {
  auto fd = open_tun();
  if (!fd) return base::fail(fd.error());
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd->get(), TUNSETIFF, &request) != 0) return base::fail_errno("make a tap");
  if (int size = kVnetHeaderBytes; ::ioctl(fd->get(), TUNSETVNETHDRSZ, &size) != 0) {
    return base::fail_errno("set the tap's header size");
  }
  const unsigned interface = ::if_nametoindex(name.c_str());
  if (interface == 0) return base::fail_errno("find the tap");
  const uint32_t offloads = set_offloads(fd->get());
  return Tap{std::move(*fd), interface, offloads};
}

}  // namespace microvm::net::space
