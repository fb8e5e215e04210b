// The operations of a disk that are under way. Lives as long as the disk or the last of them: an
// operation owns the files it needs until it completes, whatever became of who started it.
//
// Writes. Where the top layer holds all granules a write touches, the bytes go straight to their
// place. Otherwise the write first reads what is missing at its two ends from below (copy-up),
// writes whole granules, and then marks them in the map. Until then it holds its granules: other
// writes to any of them wait, so that no copy-up puts old bytes over new ones. Reads need not wait:
// they see the old or, once marked, the new granule.
//
// Flush. data → fdatasync → map → fdatasync, the map as it was before the first sync: a bit never
// reaches the file ahead of the data it stands for, whenever the worker or the host dies. Flushes
// that come meanwhile share the next round. After a failed fdatasync the kernel may have dropped
// what it could not write, so from then on every write and flush fails.
#pragma once

#include <sys/uio.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "sys/loop.hpp"
#include "vmm/disk/layer_stack.hpp"

namespace microvm::vmm {

class DiskEngine;

struct DiskOp {
  using Step = void (DiskEngine::*)(DiskOp&);

  std::shared_ptr<DiskEngine> engine;  // while under way
  std::function<void(int error)> done;
  Step admitted = nullptr;  // what to do once no other write holds the granules
  Step next = nullptr;      // what to do when `pending` reaches zero
  uint32_t pending = 0;
  int error = 0;
  bool holds_granules = false;
  std::vector<iovec> buffers;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::unique_ptr<std::byte[]> edges;  // copy-up: bytes before, then bytes after the write
  uint64_t head_bytes = 0;
  uint64_t tail_bytes = 0;
};

class DiskEngine : public std::enable_shared_from_this<DiskEngine> {
 public:
  using Done = std::function<void(int error)>;

  DiskEngine(sys::Loop& loop, LayerStack stack);

  // See disk_stack.hpp.
  void read(std::span<const iovec> buffers, uint64_t offset, uint64_t length, Done done);
  void write(std::span<const iovec> buffers, uint64_t offset, uint64_t length, Done done);
  void write_zeroes(uint64_t offset, uint64_t length, Done done);
  void discard(uint64_t offset, uint64_t length, Done done);
  void flush(Done done);
  void push_layer(NewLayer top);
  void pop_layer();

  void detach() noexcept { attached_ = false; }  // nobody waits for the rest any more
  [[nodiscard]] LayerStack& stack() noexcept { return stack_; }
  [[nodiscard]] size_t in_flight() const noexcept { return in_flight_; }

 private:
  DiskOp& start(Done done, uint64_t offset = 0, uint64_t length = 0);
  void post_complete(DiskOp& op, int error);
  void complete(DiskOp& op);
  void piece_done(DiskOp& op, int64_t result, uint64_t expected);
  void step(DiskOp& op);

  class Cursor;
  void read_range(DiskOp& op, Cursor& into, uint64_t offset, uint64_t length);

  // disk_write.cpp
  void admit(DiskOp& op);
  [[nodiscard]] bool conflicts(const DiskOp& op) const;
  void hold(DiskOp& op);
  void release(DiskOp& op);
  [[nodiscard]] uint64_t first_granule(const DiskOp& op) const;
  [[nodiscard]] uint64_t last_granule(const DiskOp& op) const;
  [[nodiscard]] bool has_all_granules(const DiskOp& op) const;
  void begin_write(DiskOp& op);
  void copy_up(DiskOp& op);
  void write_granules(DiskOp& op);
  void granules_written(DiskOp& op);
  void begin_zeroes(DiskOp& op);
  void write_zero_bytes(DiskOp& op, uint64_t offset, uint64_t length);
  [[nodiscard]] int punch(uint64_t offset, uint64_t length);

  // disk_flush.cpp
  void start_flush_round();
  void sync_top(DiskOp& op, DiskOp::Step next);
  void data_synced(DiskOp& op);
  void map_written(DiskOp& op);
  void map_synced(DiskOp& op);
  void end_flush_round(int error);

  sys::Loop& loop_;
  LayerStack stack_;
  LayerFile* top_;  // null: read-only
  const uint64_t granule_bytes_;
  bool attached_ = true;
  bool sync_failed_ = false;
  size_t in_flight_ = 0;

  std::vector<std::unique_ptr<DiskOp>> ops_;
  std::vector<DiskOp*> free_ops_;
  std::vector<DiskOp*> holders_;
  std::vector<DiskOp*> waiting_;
  std::vector<DiskOp*> flushing_;
  std::vector<DiskOp*> flush_queue_;
  std::vector<AllocationMap::Patch> flush_patches_;
  std::vector<Segment> segments_;  // scratch of one call
  std::vector<iovec> slice_;       // scratch of one call
};

}  // namespace microvm::vmm
