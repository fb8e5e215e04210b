// What microvm-net asks of its starter, which is not locked out of the file system: one byte, a
// datagram of SOCK_SEQPACKET. The answer is the same byte, with the file opened anew for reading as
// its only fd; without one it could not be opened.
#pragma once

#include <cstdint>

namespace microvm::wire {

inline constexpr uint8_t kAskResolvConf = 1;  // /etc/resolv.conf
inline constexpr uint8_t kAskHosts = 2;       // /etc/hosts

}  // namespace microvm::wire
