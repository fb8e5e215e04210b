// Writes of a disk: granules, copy-up, zeroes. See disk_engine.hpp.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "vmm/disk/buffer_cursor.hpp"
#include "vmm/disk/disk_engine.hpp"

namespace microvm::vmm {
namespace {

constexpr uint64_t kZeroBytes = 64 * 1024;
std::byte zeros[kZeroBytes];  // only read; stays the kernel's shared zero page

constexpr int kMaxPunches = 64;  // of one discard

}  // namespace

uint64_t DiskEngine::first_granule(const DiskOp& op) const {
  return op.offset / granule_bytes_;
}

uint64_t DiskEngine::last_granule(const DiskOp& op) const {
  return (op.offset + op.length - 1) / granule_bytes_;
}

bool DiskEngine::has_all_granules(const DiskOp& op) const {
  const uint64_t first = first_granule(op);
  const uint64_t end = last_granule(op) + 1;
  return top_->map.test(first) && top_->map.run_end(first, end) == end;
}

void DiskEngine::write(std::span<const iovec> buffers, uint64_t offset, uint64_t length,
                       Done done) {
  DiskOp& op = start(std::move(done), offset, length);
  Cursor(buffers).take(length, op.buffers);
  op.admitted = &DiskEngine::begin_write;
  admit(op);
}

void DiskEngine::admit(DiskOp& op) {
  if (sync_failed_) return post_complete(op, EIO);
  if (conflicts(op)) {
    waiting_.push_back(&op);
  } else {
    (this->*op.admitted)(op);
  }
}

bool DiskEngine::conflicts(const DiskOp& op) const {
  return std::any_of(holders_.begin(), holders_.end(), [&](const DiskOp* other) {
    return first_granule(op) <= last_granule(*other) && first_granule(*other) <= last_granule(op);
  });
}

void DiskEngine::hold(DiskOp& op) {
  op.holds_granules = true;
  holders_.push_back(&op);
}

void DiskEngine::release(DiskOp& op) {
  if (!std::exchange(op.holds_granules, false)) return;
  std::erase(holders_, &op);
  const std::vector<DiskOp*> retry = std::exchange(waiting_, {});
  for (DiskOp* waiter : retry) {
    admit(*waiter);
  }
}

void DiskEngine::begin_write(DiskOp& op) {
  if (!has_all_granules(op)) return copy_up(op);
  op.head_bytes = op.tail_bytes = 0;
  op.next = &DiskEngine::complete;
  op.pending = 1;
  loop_.write_file(top_->fd.get(), op.buffers, top_->data_offset + op.offset,
                   [&op](int64_t result) { op.engine->piece_done(op, result, op.length); });
}

// Reads what the first and the last granule have besides the write, where the top layer does not
// hold them yet. The last granule of a disk may reach beyond its end.
void DiskEngine::copy_up(DiskOp& op) {
  hold(op);
  const uint64_t end = op.offset + op.length;
  const uint64_t first_start = first_granule(op) * granule_bytes_;
  const uint64_t last_end = std::min((last_granule(op) + 1) * granule_bytes_, stack_.size_bytes());
  op.head_bytes = top_->map.test(first_granule(op)) ? 0 : op.offset - first_start;
  op.tail_bytes = top_->map.test(last_granule(op)) ? 0 : last_end - end;
  op.next = &DiskEngine::write_granules;
  op.pending = 1;  // this call
  if (op.head_bytes + op.tail_bytes > 0) {
    op.edges = std::make_unique_for_overwrite<std::byte[]>(op.head_bytes + op.tail_bytes);
    const iovec edges{op.edges.get(), op.head_bytes + op.tail_bytes};
    Cursor into({&edges, 1});
    if (op.head_bytes > 0) read_range(op, into, first_start, op.head_bytes);
    if (op.tail_bytes > 0) read_range(op, into, end, op.tail_bytes);
  }
  step(op);
}

void DiskEngine::write_granules(DiskOp& op) {
  if (op.error != 0) return granules_written(op);
  if (op.head_bytes > 0) op.buffers.insert(op.buffers.begin(), {op.edges.get(), op.head_bytes});
  if (op.tail_bytes > 0) {
    op.buffers.push_back({op.edges.get() + op.head_bytes, op.tail_bytes});
  }
  op.next = &DiskEngine::granules_written;
  op.pending = 1;
  loop_.write_file(top_->fd.get(), op.buffers, top_->data_offset + op.offset - op.head_bytes,
                   [&op](int64_t result) {
                     op.engine->piece_done(op, result, op.head_bytes + op.length + op.tail_bytes);
                   });
}

void DiskEngine::granules_written(DiskOp& op) {
  if (op.error == 0) top_->map.set(first_granule(op), last_granule(op));
  release(op);
  complete(op);
}

// ---- zeroes ------------------------------------------------------------------------------------

// Deallocates a range of the top layer's data, which then reads as zeros. 0 or errno.
int DiskEngine::punch(uint64_t offset, uint64_t length) {
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  while (::fallocate(top_->fd.get(), mode, static_cast<off_t>(top_->data_offset + offset),
                     static_cast<off_t>(length)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void DiskEngine::write_zeroes(uint64_t offset, uint64_t length, Done done) {
  DiskOp& op = start(std::move(done), offset, length);
  op.admitted = &DiskEngine::begin_zeroes;
  admit(op);
}

// Whole granules become holes that count as held; the ends are written like any data.
void DiskEngine::begin_zeroes(DiskOp& op) {
  const uint64_t end = op.offset + op.length;
  const uint64_t first = (op.offset + granule_bytes_ - 1) / granule_bytes_;
  const uint64_t last = end / granule_bytes_;  // the first one not covered
  op.next = &DiskEngine::complete;
  op.pending = 1;  // this call
  const bool whole = first < last;
  if (whole && punch(first * granule_bytes_, (last - first) * granule_bytes_) == 0) {
    top_->map.set(first, last - 1);
    write_zero_bytes(op, op.offset, first * granule_bytes_ - op.offset);
    write_zero_bytes(op, last * granule_bytes_, end - last * granule_bytes_);
  } else {
    write_zero_bytes(op, op.offset, op.length);
  }
  if (--op.pending == 0) post_complete(op, 0);
}

void DiskEngine::write_zero_bytes(DiskOp& op, uint64_t offset, uint64_t length) {
  if (length == 0) return;
  slice_.clear();
  for (uint64_t left = length; left > 0; left -= slice_.back().iov_len) {
    slice_.push_back({zeros, std::min(left, kZeroBytes)});
  }
  ++op.pending;
  write(slice_, offset, length, [&op](int error) { op.engine->piece_done(op, -error, 0); });
}

// Only a hint: frees the granules that are held, and leaves alone what a write is about to fill and
// what would take too many system calls on the loop's thread.
void DiskEngine::discard(uint64_t offset, uint64_t length, Done done) {
  DiskOp& op = start(std::move(done), offset, length);
  const uint64_t end = (offset + length) / granule_bytes_;
  uint64_t granule = (offset + granule_bytes_ - 1) / granule_bytes_;
  int error = 0;
  int punches = 0;
  while (granule < end && error == 0 && punches < kMaxPunches && !conflicts(op)) {
    const uint64_t run = top_->map.run_end(granule, end);
    if (top_->map.test(granule)) {
      ++punches;
      error = punch(granule * granule_bytes_, (run - granule) * granule_bytes_);
    }
    granule = run;
  }
  post_complete(op, error == EOPNOTSUPP ? 0 : error);
}

}  // namespace microvm::vmm
