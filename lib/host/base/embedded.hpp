// The two static programs this library carries in itself (embedded.S).
#pragma once

#include <cstddef>
#include <span>

namespace microvm::host {

std::span<const std::byte> embedded_worker();
std::span<const std::byte> embedded_agent();

}  // namespace microvm::host
