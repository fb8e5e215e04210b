// Standard output or error as a stream of bytes. Whoever reads it may leave and its disk may be
// full: a command then has nothing left to do, and ends.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "microvm/cancel.hpp"

namespace cli {

class OutputStream {
 public:
  // Borrows `fd`.
  explicit OutputStream(int fd) : fd_(fd) {}
  // A write that fails cancels `stop` (shared): for calls that only pass on what comes.
  OutputStream(int fd, const microvm::CancelToken& stop) : fd_(fd), stop_(stop) {}

  // False from the first failure on.
  bool write(std::span<const std::byte> data);
  bool write(std::string_view text);
  [[nodiscard]] bool failed() const { return error_ != 0; }
  // What output_failed() says of the failure.
  [[nodiscard]] int give_up(int exit_code) const;

 private:
  int fd_;
  std::optional<microvm::CancelToken> stop_;
  int error_ = 0;
};

// The exit status of a command that could not write to `fd`. A reader that has left is no news:
// nothing is said, and the status is that of a program ended by SIGPIPE. Else it says why, and it
// is `exit_code`.
int output_failed(int fd, int error, int exit_code);

}  // namespace cli
