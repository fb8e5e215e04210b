// How the agent's own code says that something did not work: an errno for programs and one line for
// people. It becomes the wire's Failure.
#pragma once

#include <cerrno>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace microvm::agent {

struct Failed {
  int error = 0;  // 0: no errno fits
  std::string message;
};

template <class T>
using Outcome = tl::expected<T, Failed>;

// The kernel's reason in lower case, without locales.
[[nodiscard]] std::string error_text(int error);

[[nodiscard]] inline tl::unexpected<Failed> fail(std::string message, int error = 0) {
  return tl::unexpected(Failed{error, std::move(message)});
}
[[nodiscard]] inline tl::unexpected<Failed> fail(Failed failure) {
  return tl::unexpected(std::move(failure));
}
// "<what>: <reason>"
[[nodiscard]] tl::unexpected<Failed> fail_errno(std::string what, int error = errno);

}  // namespace microvm::agent
