// A tap interface with a virtio-net header, as microvm-net has one and the tests' guest.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::net::space {

inline constexpr int kVnetHeaderBytes = 12;

struct Tap {
  base::Fd fd;  // non-blocking
  unsigned interface = 0;
  uint32_t offloads = 0;  // TUN_F_…
};

// In the network namespace of the calling thread, where it needs CAP_NET_ADMIN; it goes with its
// last fd. Errors: not_found, permission_denied (/dev/net/tun; the message says what to do).
Result<Tap> make_tap(const std::string& name);

}  // namespace microvm::net::space
