// The event loop: one thread, fd readiness, file I/O, timers, work posted from other threads.
// On io_uring where the host allows it, else on epoll with plain pread/pwrite; same behaviour.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/error.hpp"

namespace microvm::sys {

// Everything but post(), raise() and stop() is for the loop's own thread (before run(): for the
// thread that made it). Callbacks run on the loop's thread and may call any function of the loop.
class Loop {
 public:
  enum class Backend { automatic, io_uring, plain };
  static Result<std::unique_ptr<Loop>> create(Backend backend = Backend::automatic);
  virtual ~Loop() = default;

  using WatchId = uint64_t;
  using TimerId = uint64_t;
  using FdHandler = std::function<void(uint32_t poll_events)>;
  using CountHandler = std::function<void(uint64_t count)>;
  // The number of bytes moved or -errno. The buffers belong to the operation until then, whatever
  // happens to the object that started it.
  using IoHandler = std::function<void(int64_t result)>;

  // Level-triggered: calls the handler while `poll_events` (POLLIN, POLLOUT, …) are there. The fd
  // is borrowed and must stay open until unwatch().
  virtual WatchId watch(int fd, uint32_t poll_events, FdHandler handler) = 0;
  virtual void rearm(WatchId id, uint32_t poll_events) = 0;  // 0: keep, but report nothing
  virtual void unwatch(WatchId id) = 0;

  // Takes the count of an eventfd whenever it is not zero. The eventfd must be one that blocks (no
  // EFD_NONBLOCK), with nobody else to read it, and is borrowed as above; rearm() is not for it.
  virtual WatchId watch_counter(int eventfd, CountHandler handler) = 0;
  // Adds one to a non-blocking eventfd: from the loop's thread before it waits next, where there is
  // a ring without a system call, and once however often it was asked for; from another thread at
  // once. What was written to memory before is there when the other side hears of it.
  virtual void raise(int eventfd) = 0;
  // Does now what raise() has put off: before an eventfd is closed, or its other side looked at.
  virtual void flush_raised() = 0;

  virtual void read_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                         IoHandler done) = 0;
  virtual void write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                          IoHandler done) = 0;
  virtual void sync_file(int fd, IoHandler done) = 0;  // fdatasync
  [[nodiscard]] virtual size_t io_in_flight() const = 0;
  // For who will not be allowed to make threads later on, when files are read or written.
  virtual void prepare_file_io() {}

  // On epoll rounded up to whole milliseconds.
  virtual TimerId after(std::chrono::nanoseconds delay, std::function<void()> fire) = 0;
  virtual void cancel(TimerId id) = 0;

  virtual void post(std::function<void()> work) = 0;  // any thread
  virtual void run() = 0;                             // until stop()
  // Runs what is ready, waiting at most `limit` for something; for draining with a deadline.
  virtual void run_once(std::chrono::milliseconds limit) = 0;
  virtual void stop() = 0;  // any thread

  [[nodiscard]] virtual Backend backend() const = 0;
};

}  // namespace microvm::sys
