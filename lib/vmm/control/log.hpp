// A log of the Vm: its last bytes in a ring, and readers that get them, and what follows, by a
// pipe.
#pragma once

#include <atomic>
#include <functional>
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
  // The same from memory; the last byte stands before position `end`.
  void load(wire::ByteView bytes, uint64_t end);
  // Called after each append, on its thread; set before there is one.
  void on_append(std::function<void()> tell) { on_append_ = std::move(tell); }
  void append(wire::ByteView bytes);  // any thread

  // The rest is for the loop's thread.
  // The read end of a pipe that gives what the ring holds; with `follow` also what comes later. A
  // reader that is too slow misses bytes, the log never waits. Error busy: too many readers.
  Result<base::Fd> open_reader(bool follow);
  // The same from a position on; where bytes are missed the stream ends.
  struct Opened {
    base::Fd stream;
    uint64_t begin = 0;  // the position of its first byte
  };
  Result<Opened> open_reader_at(uint64_t from, bool follow);
  // Nothing will be appended any more: readers come to their end.
  void close();
  [[nodiscard]] bool has_readers() const { return !readers_.empty(); }
  [[nodiscard]] const LogRing& ring() const { return ring_; }
  // What came before this life is before this position.
  [[nodiscard]] uint64_t life_begin() const { return life_begin_; }

 private:
  struct Reader {
    base::Fd pipe;
    uint64_t position = 0;
    uint64_t stop_at = 0;  // when it does not follow
    bool follow = false;
    bool whole = false;  // it ends where it would miss something
    sys::Loop::WatchId watch = 0;
  };
  using Place = std::list<Reader>::iterator;

  Result<base::Fd> add_reader(uint64_t from, bool follow, bool whole);
  void feed(Place reader);
  void feed_all();
  void drop(Place reader);

  sys::Loop& loop_;
  LogRing ring_;
  std::list<Reader> readers_;
  std::atomic<size_t> followers_{0};
  std::atomic<bool> feed_posted_{false};
  std::function<void()> on_append_;
  uint64_t life_begin_ = 0;
  bool closed_ = false;
};

}  // namespace microvm::vmm::control
