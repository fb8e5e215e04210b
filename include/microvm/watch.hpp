// What happens to files of a Vm's guest, as it happens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"

namespace microvm {

struct WatchOptions {
  // Everything below the directory too: links are not followed, file systems mounted below are not
  // entered. At most 8192 directories; those above that are told of by one `overflow`.
  bool recursive = false;
};

struct FileEvent {
  enum class Kind {
    created,   // or moved in from outside; what is found in a new directory may be told twice
    modified,  // content or attributes; a write may still be going on
    removed,   // or moved out
    renamed,   // inside of what is watched
    overflow,  // something was missed: look for yourself, then go on reading events
  };
  Kind kind = Kind::created;
  // Relative to the watched path, which itself is empty. Bytes as the guest says, at most 4095, no
  // ".." and no empty part: escape them before showing them.
  std::string path;
  std::string old_path;  // of renamed
  bool is_directory = false;
};

// Movable handle; dropping it ends the watch. One thread at a time.
//
// Flow control: a handle that is not read holds what its stream holds and no more; behind that the
// guest's kernel keeps a bounded queue, and what does not fit there becomes one `overflow`.
class MICROVM_API Watch {
 public:
  Watch(Watch&&) noexcept;
  Watch& operator=(Watch&&) noexcept;
  ~Watch();

  // The next event; empty when the watched path itself is gone (removed or moved), after its
  // `removed`. Blocks until there is one; a watch does not keep the Vm awake.
  // Errors: vm_suspended when the Vm was suspended or rolled back, by whomever: watch again and
  // look what changed meanwhile. vm_gone; cancelled and deadline_exceeded, which lose nothing;
  // protocol.
  Result<std::optional<FileEvent>> next(const CallLimits& limits = {});
  // The same for who waits for fd(): would_block when there is none now.
  Result<std::optional<FileEvent>> try_next();

  // For poll(): readable when try_next() has something; now and then without reason.
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit Watch(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace microvm
