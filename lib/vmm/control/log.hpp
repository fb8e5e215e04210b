// A log of the Vm: its last bytes in a ring, and readers that get them, and what follows, by a
// pipe.
#pragma once

#include <atomic>
#include <list>
#include <memory>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "sys/loop.hpp"
#include "vmm/platform/log_ring.hpp"

namespace microvm::vmm::control {

class Log {
 public:
  static constexpr size_t kMaxReaders = 32;

  explicit Log(sys::Loop& loop) : loop_(loop) {}
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // What a file holds of an earlier life, as much as the ring takes; before anything is appended.
  Result<void> load(int fd);
  void append(wire::ByteView bytes);  // any thread

  // The rest is for the loop's thread.
  // The read end of a pipe that gives what the ring holds; with `follow` also what comes later. A
  // reader that is too slow misses bytes, the log never waits. Error busy: too many readers.
  Result<base::Fd> open_reader(bool follow);
  // Nothing will be appended any more: readers come to their end.
  void close();
  [[nodiscard]] bool has_readers() const { return !readers_.empty(); }
  [[nodiscard]] const LogRing& ring() const { return ring_; }

 private:
  struct Reader {
    base::Fd pipe;
    uint64_t position = 0;
    uint64_t stop_at = 0;  // when it does not follow
    bool follow = false;
    sys::Loop::WatchId watch = 0;
  };
  using Place = std::list<Reader>::iterator;

  void feed(Place reader);
  void feed_all();
  void drop(Place reader);

  sys::Loop& loop_;
  LogRing ring_;
  std::list<Reader> readers_;
  std::atomic<size_t> followers_{0};
  std::atomic<bool> feed_posted_{false};
  bool closed_ = false;
};

}  // namespace microvm::vmm::control
