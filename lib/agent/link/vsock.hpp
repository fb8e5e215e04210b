// Streams between this guest and its host.
#pragma once

#include <cstdint>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

inline constexpr uint32_t kDoorbellPort = 1024;   // guest → host
inline constexpr uint32_t kOperationPort = 1025;  // host → guest
inline constexpr uint32_t kAppLogPort = 1026;     // guest → host
inline constexpr uint32_t kClockPort = 1027;      // guest → host

// One attempt; invalid when the host did not answer.
[[nodiscard]] base::Fd connect_host(uint32_t port);

[[nodiscard]] Outcome<base::Fd> listen_for_host(uint32_t port);

// The next connection of the host; those of anybody else (a program of this guest) are closed.
[[nodiscard]] base::Fd accept_host(int listener);

// Whether the host takes nothing more on this stream. poll() does not tell of a host that closes
// while we have not read all it sent, or after it had half-closed; who waits meanwhile asks this
// often.
[[nodiscard]] bool host_left(int stream);
inline constexpr int kLeaveCheckMs = 1000;

}  // namespace microvm::agent
