// A program on a pseudo terminal inside a Vm. The session belongs to the Vm, not to the handle:
// dropping a Pty, or losing its connection to a suspend, only detaches, and Vm::attach_pty() comes
// back to the running program and to the recent output of its screen.
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
#include "microvm/exec.hpp"

namespace microvm {

// In characters, each 1 to 65535.
struct PtySize {
  uint16_t rows = 24;
  uint16_t columns = 80;
};

enum class PtyWriting {
  exclusive,  // one client writes at a time
  shared,     // all that attached to write may
};

struct PtyOptions {
  std::vector<std::string> argv;  // as in ExecOptions; empty: the user's login shell, else /bin/sh
  std::vector<std::string> env;   // as in ExecOptions
  std::string cwd;                // as in ExecOptions
  std::string user;               // as in ExecOptions
  PtySize size;
  std::string term = "xterm-256color";  // the variable TERM
  std::string id;  // at most 63 letters, digits, ".", "_", "-"; empty: a number nobody had before
  PtyWriting writing = PtyWriting::exclusive;
};

struct PtyAttachOptions {
  bool write = true;            // false: only watch
  bool take_over = false;       // from the client that writes now, which then only watches
  std::optional<PtySize> size;  // the terminal's new size; only where it writes
  // Pty::position() of an earlier handle: the output from there on, and not again what it has read.
  // Empty: up to 256 KiB of recent output, then what comes.
  std::optional<uint64_t> position;
};

struct PtyInfo {
  std::string id;
  std::string command;  // the program and its arguments, at most 255 bytes
  uint32_t pid = 0;     // in the guest; 0 when it has ended
  PtySize size;
  uint32_t clients = 0;
  uint32_t writers = 0;
  PtyWriting writing = PtyWriting::exclusive;
  std::optional<ExitStatus> ended;  // until someone learnt it, for the last 32 that ended
};

struct PtyOutput {
  std::vector<std::byte> data;  // bytes as the program put them out; characters may be split
  // Output that this handle has missed just before `data`: it had not read for so long that the
  // terminal went on without it. See Pty::read().
  uint64_t lost_bytes = 0;
};

// Movable handle of one client. One thread reads, others may write, resize and signal.
class MICROVM_API Pty {
 public:
  Pty(Pty&&) noexcept;
  Pty& operator=(Pty&&) noexcept;
  ~Pty();  // detaches

  // try_read(), try_write() and try_wait() never wait: where there is nothing to do now they fail
  // with would_block and have done nothing (but try_wait(), which has discarded the output that was
  // there). fd() tells when to come again. Other errors as those of the calls that wait.

  // The next piece of output; empty when the program has ended and all its output was read. Blocks.
  // Flow control: the program waits for a handle that is 128 KiB behind (and what the streams
  // between hold), but for 2 s at most. After that the handle loses what it is too slow for and
  // reads of that in lost_bytes; the program and the other handles never wait for it again until it
  // has caught up.
  // Errors: vm_suspended when the Vm was suspended or rolled back under the handle, by whomever
  // (attach_pty() with position() goes on), vm_gone, cancelled, deadline_exceeded.
  Result<std::optional<PtyOutput>> read(const CallLimits& limits = {});
  Result<std::optional<PtyOutput>> try_read();

  // Keys, as a terminal sends them: "\r" is Enter, "\x03" Ctrl-C. Blocks while the program does not
  // read. Errors: as read(), and busy when this handle does not (any more) write.
  Result<void> write(std::span<const std::byte> data, const CallLimits& limits = {});
  // How much of `data` was taken, from its beginning: 1 byte at least, and that is on its way
  // (nothing of no data).
  Result<size_t> try_write(std::span<const std::byte> data);
  // Only a writer's counts; the program gets SIGWINCH. Error: busy, as write().
  Result<void> resize(PtySize size, const CallLimits& limits = {});
  // To the foreground process group of the terminal. Errors: invalid_argument (no such signal);
  // busy, as write().
  Result<void> signal(int signal, const CallLimits& limits = {});

  // Closes this client's connection; further calls fail. The program goes on.
  void detach();

  // Discards output that was not read and waits for the program's end.
  Result<ExitStatus> wait(const CallLimits& limits = {});
  Result<ExitStatus> try_wait();

  [[nodiscard]] const std::string& id() const noexcept;
  [[nodiscard]] uint32_t pid()
      const noexcept;                          // in the guest; 0 when it did not start or has ended
  [[nodiscard]] bool writer() const noexcept;  // false as soon as read() met a take-over
  [[nodiscard]] uint64_t position() const noexcept;  // of the next byte read() returns
  // For poll(): readable when try_read() and try_wait() have something, writable when try_write()
  // has room; now and then without reason.
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit Pty(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace microvm
