// Connections on which the guest sends the output of the image's command: bytes into the app log.
#pragma once

#include <list>

#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/control/log.hpp"

namespace microvm::vmm::control {

// All functions for the loop's thread.
class AppStreams {
 public:
  static constexpr size_t kMaxStreams = 16;  // of a hostile guest; further ones are closed

  AppStreams(sys::Loop& loop, Log& log) : loop_(loop), log_(log) {}
  ~AppStreams();
  AppStreams(const AppStreams&) = delete;
  AppStreams& operator=(const AppStreams&) = delete;

  void add(base::Fd stream);

 private:
  struct Stream {
    base::Fd fd;
    sys::Loop::WatchId watch = 0;
  };
  using Place = std::list<Stream>::iterator;
  void read(Place stream);
  void drop(Place stream);

  sys::Loop& loop_;
  Log& log_;
  std::list<Stream> streams_;
};

}  // namespace microvm::vmm::control
