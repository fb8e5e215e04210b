// A node of the tree as an ext4 inode with its blocks, links and extended attributes.
#pragma once

#include <ext2fs/ext2fs.h>

#include <string>

#include "base/error.hpp"
#include "host/image/ext4_blocks.hpp"
#include "host/image/file_tree.hpp"

namespace microvm::host {

class InodeWriter {
 public:
  // Blocks for directories, long symlinks and whatever libext2fs needs come from `allocator`.
  InodeWriter(ext2_filsys fs, BlockAllocator& allocator, FileTree& tree);
  InodeWriter(const InodeWriter&) = delete;
  InodeWriter& operator=(const InodeWriter&) = delete;
  ~InodeWriter();

  // Every node that leads from here has its inode number.
  [[nodiscard]] Result<void> write(FileTree::Id id);

 private:
  [[nodiscard]] Result<void> place_content(FileTree::Id id, ext2_inode_large& inode);
  [[nodiscard]] Result<void> place_directory(FileTree::Id id, ext2_inode_large& inode);
  [[nodiscard]] Result<void> place_symlink(const Node& node, ext2_inode_large& inode);
  [[nodiscard]] Result<uint64_t> new_block();
  [[nodiscard]] Result<void> write_runs(const Node& node, const std::vector<BlockRun>& runs,
                                        ext2_inode_large& inode);
  [[nodiscard]] Result<void> write_extent_tree(const Node& node, const std::vector<BlockRun>& runs);
  [[nodiscard]] Result<void> write_xattrs(const Node& node);

  ext2_filsys fs_;
  BlockAllocator& allocator_;
  FileTree& tree_;
  std::vector<BlockRun> runs_;  // of the node being written
};

}  // namespace microvm::host
