// Short ways to make a failed Result.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

#include "microvm/error.hpp"

namespace microvm::base {

using Failure = tl::unexpected<Error>;

// Line breaks of what the caller or the guest named become "\\n" and "\\r", so that the message is
// one line; but for a step of a build, whose last output has lines.
[[nodiscard]] Failure fail(Error error);

[[nodiscard]] inline Failure fail(ErrorCode code, std::string message) {
  return fail(Error{code, std::move(message)});
}

// "<what>: <strerror(err)>", with the code that fits err (ENOSPC → out_of_disk, …).
[[nodiscard]] Failure fail_errno(const std::string& what, int err = errno);

}  // namespace microvm::base
