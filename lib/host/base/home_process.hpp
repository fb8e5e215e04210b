// The process that an object was made in. A child that is forked from it without exec has copies of
// its memory and its files, but none of the library's threads, and locks as they happened to be: an
// object that is not at home must touch nothing but what says so.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "microvm/cancel.hpp"

namespace microvm::host {

class HomeProcess {
 public:
  [[nodiscard]] bool is_here() const { return ::getpid() == pid_; }
  // Error unsupported: it is not.
  [[nodiscard]] Result<void> check() const {
    if (is_here()) return {};
    return base::fail(ErrorCode::unsupported,
                      "this handle belongs to process " + std::to_string(pid_) +
                          ", which this one was forked from: open a Runtime here");
  }
  // Of a call with limits. One that has nothing to wait for would not look at its token otherwise.
  // Errors: unsupported; cancelled.
  [[nodiscard]] Result<void> check(const CallLimits& limits) const {
    if (auto ok = check(); !ok) return ok;
    if (limits.cancel == nullptr || !limits.cancel->cancelled()) return {};
    return base::fail(ErrorCode::cancelled, "cancelled before the call began");
  }

 private:
  pid_t pid_ = ::getpid();
};

// At the end of a handle, and where it is given another: what it has is left as it is, if that is
// not at home.
template <class Impl>
void leave_unless_home(std::unique_ptr<Impl>& impl) {
  if (impl && !impl->home.is_here()) static_cast<void>(impl.release());
}

// Shared by copies; left as it is, and not destroyed, where the last one is dropped elsewhere than
// at home: what it would end, or wait for, belongs to the other process.
template <class T, class... Arguments>
std::shared_ptr<T> make_at_home(Arguments&&... arguments) {
  return std::shared_ptr<T>(new T(std::forward<Arguments>(arguments)...),
                            [home = HomeProcess()](T* made) {
                              if (home.is_here()) delete made;
                            });
}

}  // namespace microvm::host
