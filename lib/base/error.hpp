// Short ways to make a failed Result.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

#include "microvm/error.hpp"

namespace microvm::base {

using Failure = tl::unexpected<Error>;

[[nodiscard]] inline Failure fail(ErrorCode code, std::string message) {
  return Failure(Error{code, std::move(message)});
}

// Passes an error on: `if (!r) return fail(r.error());`
[[nodiscard]] inline Failure fail(Error error) {
  return Failure(std::move(error));
}

// "<what>: <strerror(err)>", with the code that fits err (ENOSPC → out_of_disk, …).
[[nodiscard]] Failure fail_errno(const std::string& what, int err = errno);

}  // namespace microvm::base
