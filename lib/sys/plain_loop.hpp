// The loop where io_uring is disabled: epoll, and file I/O by threads of its own, except for reads
// of what is in memory already. As with io_uring several operations go on at a time.
#pragma once

#include <sys/epoll.h>

#include <array>

#include "sys/file_op.hpp"
#include "sys/file_threads.hpp"
#include "sys/loop_core.hpp"

namespace microvm::sys {

class PlainLoop final : public LoopCore {
 public:
  static Result<std::unique_ptr<Loop>> create();
  ~PlainLoop() override { file_threads_.stop(); }  // its work posts to this loop

  WatchId watch(int fd, uint32_t poll_events, FdHandler handler) override;
  void rearm(WatchId id, uint32_t poll_events) override;
  void unwatch(WatchId id) override;
  WatchId watch_counter(int eventfd, CountHandler handler) override;
  void read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override;
  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override;
  void sync_file(int fd, IoHandler done) override;
  [[nodiscard]] size_t io_in_flight() const override { return io_in_flight_; }
  void prepare_file_io() override { file_threads_.start(); }
  [[nodiscard]] Backend backend() const override { return Backend::plain; }

 protected:
  void wait(std::optional<std::chrono::nanoseconds> limit) override;
  void dispatch() override;

 private:
  struct Watch {
    int fd = -1;
    uint32_t wanted = 0;
    uint32_t armed = 0;   // what epoll knows; 0: the fd is not in the set
    uint32_t always = 0;  // events of an fd epoll refuses: a regular file, or no fd at all
    bool running = false;
    FdHandler handler;
  };

  PlainLoop() = default;
  void apply(WatchId id, Watch& watch);
  void refused(WatchId id, Watch& watch, int error);
  void poll(std::optional<std::chrono::nanoseconds> limit);
  void report_ready(WatchId id, uint32_t events);
  void run_always_ready();
  void report(const std::shared_ptr<FileOp>& op, int64_t result);
  void start(FileOp::Kind kind, int fd, std::span<const iovec> buffers, uint64_t offset,
             IoHandler done);

  base::Fd epoll_;
  std::unordered_map<WatchId, std::shared_ptr<Watch>> watches_;
  WatchId next_watch_ = 1;
  std::vector<WatchId> always_ready_;
  std::array<epoll_event, 64> ready_{};  // a member, so that a nested run_once() goes on with it
  size_t next_ready_ = 0;
  size_t ready_count_ = 0;
  size_t io_in_flight_ = 0;  // asked for and not yet reported
  FileThreads file_threads_;
};

}  // namespace microvm::sys
