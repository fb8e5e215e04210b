// What a Vm prints, as it comes.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"

namespace microvm {

// What is kept of a log and what comes, each byte once and in order, until the Vm ends: over
// suspend, resume and rollback too, whoever asks for them. It wakes nothing. Movable; holds the Vm
// as a copy of its handle does; one thread at a time. Several streams may follow the same log.
//
// Flow control: a stream that is not read holds 64 KiB and no more, and behind it the worker keeps
// the last 256 KiB of the log. One that falls further behind misses what is not kept any more, and
// goes on with the oldest byte that is. Of a guest that an older version of the library had started
// what was printed around a suspend may come twice or not at all.
class MICROVM_API LogStream {
 public:
  LogStream(LogStream&&) noexcept;
  LogStream& operator=(LogStream&&) noexcept;
  ~LogStream();

  // The next piece, at most 256 KiB, bytes as the guest printed them; empty: the Vm has ended and
  // all was read. Blocks until there is one, without a limit of its own.
  // Errors: io (a Vm has ended and nothing was kept), busy (as many follow this log as its worker
  // feeds, 32: read again later), protocol; cancelled and deadline_exceeded, which lose nothing.
  Result<std::optional<std::string>> read(const CallLimits& limits = {});
  // The same without waiting, but for a worker on its way out (a second at most) when the Runtime
  // has ended, whose threads look for where a log goes on. Error would_block: nothing is there now,
  // wait for fd().
  Result<std::optional<std::string>> try_read();

  // Readable when try_read() has something, and now and then when it has nothing; for poll().
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit LogStream(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace microvm
