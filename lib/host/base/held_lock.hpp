// A flock that ends when its holder drops it, and not with the last copy of its file: a child that
// is forked without exec has such a copy for as long as it lives.
#pragma once

#include <sys/file.h>

#include <memory>
#include <utility>

#include "base/fd.hpp"
#include "host/base/home_process.hpp"

namespace microvm::host {

// Held until the last copy is gone. The file may be none.
using HeldLock = std::shared_ptr<const base::Fd>;

inline HeldLock hold_until_dropped(base::Fd locked) {
  return {new base::Fd(std::move(locked)), [home = HomeProcess()](const base::Fd* file) {
            if (*file && home.is_here()) ::flock(file->get(), LOCK_UN);
            delete file;
          }};
}

}  // namespace microvm::host
