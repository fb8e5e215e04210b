// TCP ports of the guest, as its own programs see them.
#pragma once

#include <cstdint>

#include "agent/base/failed.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

// To 127.0.0.1, and to ::1 where nothing listens there.
[[nodiscard]] Outcome<base::Fd> connect_loopback(uint32_t port);

}  // namespace microvm::agent
