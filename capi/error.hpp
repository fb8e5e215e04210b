// Errors on their way out of the library: thrown inside of capi where an argument is wrong, values
// everywhere else, an mvm_error for the caller.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "microvm.h"
#include "microvm/error.hpp"

namespace microvm::capi {

// What a call was given can not be taken. Ends the call; see enter() in call.hpp.
struct Refused {
  Error error;
};

[[noreturn]] inline void refuse(ErrorCode code, std::string message) {
  throw Refused{Error{code, std::move(message)}};
}

[[nodiscard]] inline auto fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

// Gives the error out, if the caller wants it, and returns its status.
mvm_status report(mvm_error** err, Error error) noexcept;
mvm_status report_out_of_memory(mvm_error** err) noexcept;
// What should not have been thrown.
mvm_status report_thrown(mvm_error** err, const char* function, const char* what) noexcept;

// What a callback returned, as an error; `who` begins its message. Not for 0.
Error callback_error(const char* who, int64_t status);

}  // namespace microvm::capi
