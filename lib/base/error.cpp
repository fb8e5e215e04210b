#include "base/error.hpp"

#include <array>
#include <cstring>

namespace microvm {

const char* error_code_name(ErrorCode code) noexcept {
  static constexpr std::array<const char*, 25> kNames = {"unknown",
                                                         "invalid_argument",
                                                         "not_found",
                                                         "already_exists",
                                                         "permission_denied",
                                                         "unsupported",
                                                         "busy",
                                                         "cancelled",
                                                         "deadline_exceeded",
                                                         "out_of_disk",
                                                         "out_of_memory",
                                                         "corrupt",
                                                         "incompatible_cpu",
                                                         "kvm_unavailable",
                                                         "kvm_unsuitable",
                                                         "build_failed",
                                                         "syntax",
                                                         "guest_failed",
                                                         "vm_gone",
                                                         "connection_refused",
                                                         "io",
                                                         "protocol",
                                                         "internal",
                                                         "vm_suspended",
                                                         "would_block"};
  const auto index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : kNames[0];
}

namespace base {
namespace {

ErrorCode code_for(int err) {
  switch (err) {
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::out_of_disk;
    case ENOMEM:
      return ErrorCode::out_of_memory;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::permission_denied;
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case ECANCELED:
      return ErrorCode::cancelled;
    case ETIMEDOUT:
      return ErrorCode::deadline_exceeded;
    case ECONNREFUSED:
      return ErrorCode::connection_refused;
    case EPIPE:
    case ECONNRESET:
      return ErrorCode::vm_gone;
    default:
      return ErrorCode::io;
  }
}

// What a step of a build has put out last has lines, whatever ended it: a failure, a limit of time.
bool has_output(const Error& error) {
  return error.code == ErrorCode::build_failed ||
         error.message.find("; last output:\n") != std::string::npos;
}

std::string in_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\r') {
      line += "\\r";
    } else {
      line += c;
    }
  }
  return line;
}

}  // namespace

Failure fail(Error error) {
  if (!has_output(error) && error.message.find_first_of("\n\r") != std::string::npos) {
    error.message = in_one_line(error.message);
  }
  return Failure(std::move(error));
}

Failure fail_errno(const std::string& what, int err) {
  return fail(code_for(err), what + ": " + strerrordesc_np(err));
}

}  // namespace base
}  // namespace microvm
