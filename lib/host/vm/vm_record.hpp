// What a Vm says about itself on disk (vm.json, for its whole life) and how it ended (exit).
// Written by the process that started it and by its worker; read by every process that opens the
// data directory.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "microvm/vm.hpp"
#include "wire/control.hpp"

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
};

inline constexpr size_t kMaxVmRecordBytes = 16 * 1024;

std::string encode_record(const VmRecord& record);
// `file` stands in messages. Error: corrupt.
Result<VmRecord> parse_record(std::string_view text, const std::string& file);

// Without state, state_reason, end and worker_pid.
VmInfo to_info(const VmRecord& record);

struct EndReason {
  VmEnd end = VmEnd::none;
  std::string text;
};
// Of a Vm that left no word.
[[nodiscard]] EndReason killed_reason(std::string text = {});
[[nodiscard]] EndReason end_reason(const wire::ExitEvent& exit);
// "the guest powered off", "the guest's kernel panicked: …"
std::string describe_exit(const wire::ExitEvent& exit);
// The error of a call that the end of the Vm cut short: guest_failed when the guest broke down,
// else vm_gone. `what` begins the message.
Error exit_error(std::string_view what, const wire::ExitEvent& exit);

// Text of a worker or guest on one line, for a message.
std::string one_line(std::string_view text);

}  // namespace microvm::host
