// What is known of a microVM at a moment.
#pragma once

#include <cstdint>
#include <string>

#include "microvm/error.hpp"
#include "microvm/network.hpp"
#include "microvm/vm_end.hpp"

namespace microvm {

enum class VmState {
  running,
  suspending,  // seen by the handle that suspends it; others see it run until its worker is gone
  suspended,
  terminating,  // likewise: its terminate hook is asked, its worker goes
  terminated,
};
MICROVM_API const char* vm_state_name(VmState state) noexcept;

struct VmInfo {
  std::string id;  // 12 hex digits
  std::string name;
  std::string image;  // "name:version"
  VmState state = VmState::running;
  // Of a suspended or terminated one how its last worker ended; of one that a newer version of the
  // library made, that it did: then only id and state are known.
  std::string state_reason;
  VmEnd end = VmEnd::none;  // of a terminated one
  std::string created;      // RFC 3339, UTC
  uint32_t worker_pid = 0;
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  bool dies_with_owner = true;
};

struct VmCounters {
  bool paused = false;
  uint64_t exits = 0;            // returns from KVM_RUN
  uint64_t start_to_run_ns = 0;  // in the worker: request received → first KVM_RUN
  NetworkCounters network;
};

}  // namespace microvm
