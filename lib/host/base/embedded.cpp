#include "host/base/embedded.hpp"

extern "C" {
extern const std::byte microvm_embedded_worker_begin[];
extern const std::byte microvm_embedded_worker_end[];
extern const std::byte microvm_embedded_net_begin[];
extern const std::byte microvm_embedded_net_end[];
extern const std::byte microvm_embedded_agent_begin[];
extern const std::byte microvm_embedded_agent_end[];
extern const std::byte microvm_embedded_probe_guest_begin[];
extern const std::byte microvm_embedded_probe_guest_end[];
}

namespace microvm::host {

std::span<const std::byte> embedded_worker() {
  return {microvm_embedded_worker_begin, microvm_embedded_worker_end};
}

std::span<const std::byte> embedded_net() {
  return {microvm_embedded_net_begin, microvm_embedded_net_end};
}

std::span<const std::byte> embedded_agent() {
  return {microvm_embedded_agent_begin, microvm_embedded_agent_end};
}

std::span<const std::byte> embedded_probe_guest() {
  return {microvm_embedded_probe_guest_begin, microvm_embedded_probe_guest_end};
}

}  // namespace microvm::host
