// Flushes of a disk, in rounds. See disk_engine.hpp.
#include <cerrno>

#include "vmm/disk/disk_engine.hpp"

namespace microvm::vmm {

void DiskEngine::flush(Done done) {
  DiskOp& op = start(std::move(done));
  if (top_ == nullptr) return post_complete(op, 0);
  if (sync_failed_) return post_complete(op, EIO);
  flush_queue_.push_back(&op);
  if (flushing_.empty()) start_flush_round();
}

// The first operation of a round counts its steps.
void DiskEngine::start_flush_round() {
  flushing_.swap(flush_queue_);
  flush_patches_ = top_->map.take_changes();
  sync_top(*flushing_.front(), &DiskEngine::data_synced);
}

// A failure is for good, so it is not told as a lack of room, which may come to an end.
void DiskEngine::sync_top(DiskOp& op, DiskOp::Step next) {
  op.next = next;
  op.pending = 1;
  loop_.sync_file(top_->fd.get(), [&op](int64_t result) {
    if (result < 0) op.engine->sync_failed_ = true;
    const bool no_room = result == -ENOSPC || result == -EDQUOT;
    op.engine->piece_done(op, no_room ? -EIO : result, 0);
  });
}

void DiskEngine::data_synced(DiskOp& op) {
  if (op.error != 0 || flush_patches_.empty()) return end_flush_round(op.error);
  op.next = &DiskEngine::map_written;
  op.pending = static_cast<uint32_t>(flush_patches_.size());
  for (AllocationMap::Patch& patch : flush_patches_) {
    const iovec bytes{patch.bytes.data(), patch.bytes.size()};
    loop_.write_file(top_->fd.get(), {&bytes, 1}, kLayerMapOffset + patch.offset,
                     [&op, expected = patch.bytes.size()](int64_t result) {
                       op.engine->piece_done(op, result, expected);
                     });
  }
}

void DiskEngine::map_written(DiskOp& op) {
  if (op.error != 0) return end_flush_round(op.error);
  sync_top(op, &DiskEngine::map_synced);
}

void DiskEngine::map_synced(DiskOp& op) {
  end_flush_round(op.error);
}

void DiskEngine::end_flush_round(int error) {
  if (error != 0) top_->map.put_back(flush_patches_);
  flush_patches_.clear();
  const std::shared_ptr<DiskEngine> keep = shared_from_this();
  const std::vector<DiskOp*> round = std::exchange(flushing_, {});
  for (DiskOp* op : round) {
    op->error = error;
    complete(*op);
  }
  if (!flush_queue_.empty() && flushing_.empty()) start_flush_round();
}

}  // namespace microvm::vmm
