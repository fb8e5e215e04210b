// The loop on io_uring. What callbacks ask for is queued and enters the ring right before the next
// wait, so a round of the loop is one system call.
#pragma once

#include <liburing.h>

#include "sys/file_op.hpp"
#include "sys/loop_core.hpp"

namespace microvm::sys {

class UringLoop final : public LoopCore {
 public:
  static Result<std::unique_ptr<Loop>> create();
  ~UringLoop() override;

  WatchId watch(int fd, uint32_t poll_events, FdHandler handler) override;
  void rearm(WatchId id, uint32_t poll_events) override;
  void unwatch(WatchId id) override;
  WatchId watch_counter(int eventfd, CountHandler handler) override;
  void read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override;
  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) override;
  void sync_file(int fd, IoHandler done) override;
  [[nodiscard]] size_t io_in_flight() const override { return io_in_flight_; }
  [[nodiscard]] Backend backend() const override { return Backend::io_uring; }

 protected:
  void wait(std::optional<std::chrono::nanoseconds> limit) override;
  void dispatch() override;

 private:
  // Polls are one-shot and armed again after the handler: that makes them level-triggered. One that
  // ended for nothing that is wanted (the kernel always reports a half-closed peer) would do so
  // again at once: the next one is multishot and reports what changes.
  struct Watch {
    int fd = -1;
    uint32_t wanted = 0;
    uint32_t armed = 0;       // what the poll in the kernel waits for; 0: none is there
    uint16_t generation = 0;  // of that poll; completions of earlier ones are ignored
    bool queued = false;
    bool running = false;
    bool changes_only = false;  // the poll, or the next one, is multishot
    FdHandler handler;
    CountHandler count_handler;  // set: instead of a poll there is a read into `count`
    uint64_t count = 0;
  };
  using OpIndex = size_t;  // in ops_, whose elements stay where they are
  struct Pending {
    enum class Kind : uint8_t { arm, cancel, file } kind;
    uint64_t value;  // watch id, user data to cancel, index of the operation
  };

  UringLoop() = default;
  Result<void> open_ring();
  void enable();
  void arm_later(WatchId id, Watch& watch);
  void cancel_poll(WatchId id, Watch& watch);
  [[nodiscard]] static uint64_t user_data_of(WatchId id, const Watch& watch);
  void start(FileOp::Kind kind, int fd, std::span<const iovec> buffers, uint64_t offset,
             IoHandler done);
  void flush();
  void arm(WatchId id);
  void prepare(OpIndex index);
  void enter(std::optional<std::chrono::nanoseconds> limit);
  [[nodiscard]] unsigned worth_waiting_for();
  static void prepare_poll(io_uring_sqe& sqe, const Watch& watch);
  void prepare_raised();
  void report(uint64_t user_data, int32_t result, bool more);
  void poll_done(uint64_t user_data, int32_t result, bool more);
  void count_done(uint64_t user_data, int32_t result);
  void file_done(OpIndex index, int32_t result);
  void drain();

  io_uring ring_{};
  bool open_ = false;
  bool enabled_ = false;
  std::deque<Pending> pending_;
  std::unordered_map<WatchId, std::shared_ptr<Watch>> watches_;
  WatchId next_watch_ = 1;
  std::vector<std::unique_ptr<FileOp>> ops_;
  std::vector<OpIndex> free_ops_;
  size_t io_in_flight_ = 0;  // asked for and not yet reported
  size_t io_in_kernel_ = 0;  // of them, those the kernel has
  bool new_io_ = false;      // some of it since the last wait
  size_t polls_in_kernel_ = 0;
  // By their user data; the kernel writes into a watch until its read completes.
  std::unordered_map<uint64_t, std::shared_ptr<Watch>> counts_in_kernel_;
  unsigned raised_in_ring_ = 0;  // by the next enter
};

}  // namespace microvm::sys
