#include "host/image/ext4_blocks.hpp"

#include <algorithm>
#include <cstring>

#include "host/image/ext4_layout.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kWriteBytes = 1u << 20;
constexpr uint32_t kMaxRunBlocks = 32768;  // of an initialised extent
// ext4's largest file: 32-bit block numbers.
constexpr uint64_t kMaxFileBytes = uint64_t{UINT32_MAX} * kExt4BlockBytes;

bool all_zero(ByteSpan block) {
  return block.front() == std::byte{} &&
         std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

}  // namespace

BlockAllocator::BlockAllocator(ext2_filsys fs)
    : fs_(fs), next_(fs->super->s_first_data_block), run_end_(next_) {}

bool BlockAllocator::find_run() {
  const blk64_t last = ext2fs_blocks_count(fs_->super) - 1;
  blk64_t found = 0;
  if (next_ > last ||
      ext2fs_find_first_zero_block_bitmap2(fs_->block_map, next_, last, &found) != 0)
    return false;
  next_ = found;
  const bool bounded =
      ext2fs_find_first_set_block_bitmap2(fs_->block_map, next_, last, &found) == 0;
  run_end_ = bounded ? found : last + 1;
  return true;
}

Result<uint64_t> BlockAllocator::next() {
  if (next_ == run_end_ && !find_run())
    return fail(ErrorCode::invalid_argument, "the content does not fit; choose a larger disk size");
  return next_++;
}

Result<void> BlockWriter::write(uint64_t physical, ByteSpan block) {
  if (all_zero(block)) return {};
  const bool follows = physical == first_ + pending_.size() / kExt4BlockBytes;
  if (!pending_.empty() && (!follows || pending_.size() >= kWriteBytes))
    if (auto flushed = flush(); !flushed) return flushed;
  if (pending_.empty()) first_ = physical;
  pending_.insert(pending_.end(), block.begin(), block.end());
  return {};
}

Result<void> BlockWriter::flush() {
  if (auto written = pwrite_all(fd_, pending_, first_ * kExt4BlockBytes, name_); !written)
    return written;
  pending_.clear();
  return {};
}

Result<void> FileStream::put_block(uint32_t logical, ByteSpan block) {
  const auto physical = allocator_.next();
  if (!physical) return fail(physical.error());
  append_block(runs_, logical, *physical);
  return writer_.write(*physical, block);
}

Result<void> FileStream::flush_partial() {
  if (partial_.empty()) return {};
  partial_.resize(kExt4BlockBytes);
  auto put = put_block(partial_block_, partial_);
  partial_.clear();
  return put;
}

Result<void> FileStream::write(ByteSpan bytes, uint64_t offset) {
  if (offset > kMaxFileBytes || bytes.size() > kMaxFileBytes - offset)
    return fail(ErrorCode::invalid_argument, "a file is larger than ext4 allows");
  while (!bytes.empty()) {
    const auto block = static_cast<uint32_t>(offset / kExt4BlockBytes);
    const size_t at = offset % kExt4BlockBytes;
    if (!partial_.empty() && block != partial_block_)
      if (auto flushed = flush_partial(); !flushed) return flushed;
    const auto piece = bytes.first(std::min<size_t>(bytes.size(), kExt4BlockBytes - at));
    if (piece.size() == kExt4BlockBytes && partial_.empty()) {
      if (auto put = put_block(block, piece); !put) return put;
    } else {
      if (at < partial_.size()) return fail(ErrorCode::corrupt, "a file's pieces overlap");
      partial_block_ = block;
      partial_.resize(at);
      partial_.insert(partial_.end(), piece.begin(), piece.end());
    }
    bytes = bytes.subspan(piece.size());
    offset += piece.size();
  }
  return {};
}

Result<std::vector<BlockRun>> FileStream::finish() {
  if (auto flushed = flush_partial(); !flushed) return fail(flushed.error());
  return std::move(runs_);
}

void append_block(std::vector<BlockRun>& runs, uint32_t logical, uint64_t physical) {
  if (!runs.empty()) {
    BlockRun& last = runs.back();
    if (last.count < kMaxRunBlocks && logical == last.logical + last.count &&
        physical == last.physical + last.count) {
      ++last.count;
      return;
    }
  }
  runs.push_back({logical, 1, physical});
}

}  // namespace microvm::host
