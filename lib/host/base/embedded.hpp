// The static programs this library carries in itself (embedded.S).
#pragma once

#include <cstddef>
#include <span>

namespace microvm::host {

std::span<const std::byte> embedded_worker();
std::span<const std::byte> embedded_net();
std::span<const std::byte> embedded_agent();
std::span<const std::byte> embedded_probe_guest();  // see probe_guest.cpp

}  // namespace microvm::host
