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
  // "NAME=value", added to (and winning over) the image's; "NAME": without it. The last of a name
  // counts.
  std::vector<std::string> env;
  std::string cwd;          // empty: the image's WORKDIR
  std::string user;         // "name", "uid", "name:group", "uid:gid"; empty: the image's USER
  uint32_t timeout_ms = 0;  // 0: none; then the whole process group is killed
  bool stdin_open = false;  // false: stdin is /dev/null
  std::string id;  // at most 63 letters, digits, ".", "_", "-"; empty: a number nobody had before
  // Dropping the handle leaves the program running, and it is never slowed for want of a reader.
  bool detached = false;
  // The handle attaches again by itself where its Vm was suspended under it; see Exec.
  bool reattach = false;
};

struct ExecAttachOptions {
  bool write = true;       // stdin, one client at a time; false: only read
  bool take_over = false;  // from the client that writes now, which then only reads
  // Exec::position() of an earlier handle: the output from there on, and not again what it has
  // read. Empty: what is kept of it, then what comes.
  std::optional<uint64_t> position;
  bool reattach = false;  // as in ExecOptions
};

struct ExitStatus {
  int code = 0;            // exit code; 127 not found, 126 not executable, as a shell says
  int signal = 0;          // the signal that ended it, or 0
  bool timed_out = false;  // ExecOptions::timeout_ms passed
  std::string message;     // why the program could not be started, else empty
};

struct ExecInfo {
  std::string id;
  std::string command;   // the program and its arguments, at most 255 bytes
  uint32_t pid = 0;      // in the guest; 0 when it has ended
  uint32_t clients = 0;  // attached, or waiting for its end
  bool written = false;  // one of them writes its stdin
  bool detached = false;
  uint64_t output_bytes = 0;        // since its start, both streams
  std::optional<ExitStatus> ended;  // until someone learnt it, for the last 256 that ended
};

struct ExecOutput {
  enum class Stream { out, err };
  Stream stream = Stream::out;
  std::vector<std::byte> data;
  // Output, of both streams, that this handle has missed just before `data`: it was gone for too
  // long. Only where it attached.
  uint64_t lost_bytes = 0;
};

// Movable handle of one client of a program. One thread reads, another may write stdin or send
// signals.
//
// The program belongs to the Vm: it goes on over suspend and resume, fork (there a copy of it, with
// nobody attached), checkpoint and rollback, and when the process with the handle dies; then
// Vm::attach_exec() comes back to it. Dropping the handle of Vm::exec() before the end kills the
// program, unless it is detached or its Vm was suspended or rolled back since the handle last
// reached it; dropping one of attach_exec() only detaches.
//
// Output: the guest keeps the last 256 KiB of both streams together (of the first 32 programs that
// run at a time; 64 KiB of those up to the 128th, 16 KiB of the others). The program waits for
// clients that are behind. When its last client is lost (not detached) it waits for 10 s for one
// that attaches again, but only once it has put out more than is kept; then it goes on and the
// oldest output is lost. stdin stays open until somebody who writes closes it.
//
// Where the Vm is suspended or rolled back under the handle, by whomever, calls fail with
// vm_suspended; attach_exec() with position() goes on. With `reattach` the call does so itself: it
// resumes the Vm, or waits for its resume, as any call that needs the guest (error busy where the
// policy does not let it), and goes on at the byte where it was, also in stdin. Where that can not
// be, because of a rollback or because another client has written meanwhile, it fails with
// invalid_argument or busy; what was lost of the output is told in lost_bytes. It needs a Vm handle
// of its Vm to be there still.
class MICROVM_API Exec {
 public:
  Exec(Exec&&) noexcept;
  Exec& operator=(Exec&&) noexcept;
  ~Exec();  // kills the program, or detaches; waits for a guest that is stuck for 1 s at most

  // try_read(), try_write_stdin(), try_close_stdin() and try_wait() never wait: where there is
  // nothing to do now they fail with would_block and have done nothing (but try_wait(), which has
  // discarded the output that was there). fd() tells when to come again. Other errors as those of
  // the calls that wait.

  // The next piece of output, as soon as there is one; empty when the program has ended and all its
  // output was read. Blocks; the guest is slowed down when nobody reads (flow control). Errors:
  // vm_suspended, vm_gone, cancelled, deadline_exceeded.
  Result<std::optional<ExecOutput>> read(const CallLimits& limits = {});
  Result<std::optional<ExecOutput>> try_read();

  // Blocks while the program does not read. Errors: as read(), and busy when this handle does not
  // (any more) write; after cancelled and deadline_exceeded a part of the data may be on its way.
  Result<void> write_stdin(std::span<const std::byte> data, const CallLimits& limits = {});
  // How much of `data` was taken, from its beginning: 1 byte at least, and that is on its way
  // (nothing of no data).
  Result<size_t> try_write_stdin(std::span<const std::byte> data);
  // The program reads what was written, then the end. Blocks and fails as write_stdin(); may be
  // repeated, the program meets one end.
  Result<void> close_stdin(const CallLimits& limits = {});
  Result<void> try_close_stdin();
  // To the program's process group, after it was handed what was written to stdin before; one that
  // is under way when the Vm is suspended may be lost. Errors: invalid_argument (no such signal),
  // vm_suspended, vm_gone, cancelled, deadline_exceeded (10 s at most). See also Vm::signal_exec().
  Result<void> signal(int signal, const CallLimits& limits = {});

  // Leaves the program running; further calls fail with busy. What it has not read within a second
  // of what was written may be lost, and so the end of stdin. Error: unsupported (an image of a
  // version whose programs can not be left: rebuild it), cancelled (with a token that had fired
  // nothing happens, and the program ends with its handle).
  Result<void> detach(const CallLimits& limits = {});

  // Discards output that was not read and waits for the end.
  Result<ExitStatus> wait(const CallLimits& limits = {});
  Result<ExitStatus> try_wait();

  // Empty with an image of an older version, whose programs end with their handle.
  [[nodiscard]] const std::string& id() const noexcept;
  // In the guest; 0 when it did not start, or had ended when this handle attached.
  [[nodiscard]] uint32_t pid() const noexcept;
  // Of the next byte read() returns, in both streams together, lost ones included.
  [[nodiscard]] uint64_t position() const noexcept;
  [[nodiscard]] bool writer() const noexcept;  // false as soon as read() met a take-over
  // For poll(): readable when try_read() and try_wait() have something, writable when
  // try_write_stdin() and try_close_stdin() have room; now and then without reason. With `reattach`
  // the number stays the same over all attaching again and what it stands for does not: an epoll
  // has to be given it again before each wait.
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit Exec(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

struct CollectOptions {
  size_t max_bytes = 1 << 20;  // of each stream; what is more is read and dropped
  // What the program reads from stdin, then the end; it is written as the program reads it, while
  // its output is taken. What it does not read is dropped. Empty: stdin is as ExecOptions says.
  std::string input;
};

struct ExecResult {
  ExitStatus status;
  std::string out;
  std::string err;
};

}  // namespace microvm
