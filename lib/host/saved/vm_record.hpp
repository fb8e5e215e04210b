// What a Vm says about itself on disk (vm.json, for its whole life). Written by the process that
// started it, read by every process that opens the data directory.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "host/network/vm_network.hpp"
#include "microvm/vm.hpp"

namespace microvm::host {

struct VmRecord {
  std::string id;
  std::string name;
  std::string image;    // "name:version"
  std::string created;  // RFC 3339, UTC
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  bool dies_with_owner = true;
  std::string hostname;  // the identity its agent was given
  std::string machine_id;
  std::string boot_id;
  IdlePolicy idle;
  VmNetwork network;
};

inline constexpr uint64_t kVmRecordSchema = 1;
inline constexpr size_t kMaxVmRecordBytes = 16 * 1024;

// Error invalid_argument: it can not be written down.
Result<void> check_policy(const IdlePolicy& policy);

std::string encode_record(const VmRecord& record);
// `file` stands in messages. Errors: corrupt, unsupported (a newer schema).
Result<VmRecord> parse_record(std::string_view text, const std::string& file);

// Without state, state_reason, end and worker_pid.
VmInfo to_info(const VmRecord& record);

}  // namespace microvm::host
