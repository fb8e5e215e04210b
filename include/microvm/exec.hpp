// A program run inside a Vm: its streams, its exit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"

namespace microvm {

struct ExecOptions {
  std::vector<std::string> argv;  // argv[0] is looked up in the PATH of the environment
  std::vector<std::string> env;   // "NAME=value", added to (and winning over) the image's
  std::string cwd;                // empty: the image's WORKDIR
  std::string user;               // "name", "uid", "name:group", "uid:gid"; empty: the image's USER
  uint32_t timeout_ms = 0;        // 0: none; then the whole process group is killed
  bool stdin_open = false;        // false: stdin is /dev/null
};

struct ExitStatus {
  int code = 0;            // exit code; 127 not found, 126 not executable, as a shell says
  int signal = 0;          // the signal that ended it, or 0
  bool timed_out = false;  // ExecOptions::timeout_ms passed
  std::string message;     // why the program could not be started, else empty
};

struct ExecOutput {
  enum class Stream { out, err };
  Stream stream = Stream::out;
  std::vector<std::byte> data;
};

// Movable handle. Dropping it before the program ended kills the program. One thread reads, another
// may write stdin or send signals.
class MICROVM_API Exec {
 public:
  Exec(Exec&&) noexcept;
  Exec& operator=(Exec&&) noexcept;
  ~Exec();

  // The next piece of output, as soon as there is one; empty when the program has ended and all its
  // output was read. Blocks; the guest is slowed down when nobody reads (flow control).
  Result<std::optional<ExecOutput>> read(const CallLimits& limits = {});

  // Blocks while the program does not read. Errors: vm_gone, cancelled, deadline_exceeded; after
  // the last two a part of the data may be on its way.
  Result<void> write_stdin(std::span<const std::byte> data, const CallLimits& limits = {});
  // The program reads what was written, then the end. Blocks and fails as write_stdin(); may be
  // repeated, the program meets one end.
  Result<void> close_stdin(const CallLimits& limits = {});
  // To the program's process group, after it was handed what was written to stdin before. Errors:
  // invalid_argument (no such signal), vm_gone, deadline_exceeded (10 s).
  Result<void> kill(int signal);

  // Discards output that was not read and waits for the end.
  Result<ExitStatus> wait(const CallLimits& limits = {});

  [[nodiscard]] uint32_t pid() const noexcept;  // in the guest; 0 when it could not be started
  [[nodiscard]] int fd() const noexcept;        // readable when read() has something; for poll()

  struct Impl;
  explicit Exec(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

struct ExecResult {
  ExitStatus status;
  std::string out;
  std::string err;
};

}  // namespace microvm
