// Data blocks of an ext4 under construction: given out in ascending order, written in large pieces.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "host/image/bytes.hpp"
#include "host/image/file_tree.hpp"

namespace microvm::host {

// Hands out each block that no metadata lies on once, from the start of the disk. Blocks are not
// marked in the bitmap: only what the finished tree still needs is (Ext4Writer::finish).
class BlockAllocator {
 public:
  explicit BlockAllocator(ext2_filsys fs);
  // Error invalid_argument when the disk is full.
  [[nodiscard]] Result<uint64_t> next();

 private:
  [[nodiscard]] bool find_run();

  ext2_filsys fs_;
  uint64_t next_ = 0;
  uint64_t run_end_ = 0;  // blocks [next_, run_end_) are free
};

// Collects blocks that lie one after another and writes them together.
class BlockWriter {
 public:
  BlockWriter(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  // `block` has kExt4BlockBytes. Zeros are not written: the file is new and sparse.
  [[nodiscard]] Result<void> write(uint64_t physical, ByteSpan block);
  [[nodiscard]] Result<void> flush();

 private:
  int fd_;
  std::string name_;
  uint64_t first_ = 0;
  Bytes pending_;
};

// The content of one file as it comes from the tar, in ascending offsets; gaps become holes.
class FileStream {
 public:
  FileStream(BlockAllocator& allocator, BlockWriter& writer)
      : allocator_(allocator), writer_(writer) {}
  [[nodiscard]] Result<void> write(ByteSpan bytes, uint64_t offset);
  // Ends the file; the runs of its blocks.
  [[nodiscard]] Result<std::vector<BlockRun>> finish();

 private:
  [[nodiscard]] Result<void> put_block(uint32_t logical, ByteSpan block);
  [[nodiscard]] Result<void> flush_partial();

  BlockAllocator& allocator_;
  BlockWriter& writer_;
  std::vector<BlockRun> runs_;
  Bytes partial_;  // of the block that is not whole yet
  uint32_t partial_block_ = 0;
};

// Appends one block, joining it to the last run where both numbers go on.
void append_block(std::vector<BlockRun>& runs, uint32_t logical, uint64_t physical);

}  // namespace microvm::host
