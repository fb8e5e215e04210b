// Writes a tree of files as an ext4 file system into a sparse file: file data as it comes, all
// metadata at the end. Every byte depends on the input alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "host/image/ext4_blocks.hpp"
#include "host/image/ext4_layout.hpp"
#include "host/image/file_tree.hpp"

namespace microvm::host {

class Ext4Writer {
 public:
  // `file` is new and empty and becomes `disk_bytes` long. Error invalid_argument: the size.
  static Result<std::unique_ptr<Ext4Writer>> create(const std::filesystem::path& file,
                                                    uint64_t disk_bytes,
                                                    Ext4Use use = Ext4Use::root);

  // Nodes that fit: inodes that are not reserved.
  [[nodiscard]] size_t max_nodes() const;

  // One at a time; its finish() gives Node::blocks.
  [[nodiscard]] FileStream new_file() { return {allocator_, data_}; }

  // Writes the metadata. The writer is used up.
  [[nodiscard]] Result<void> finish(FileTree& tree, const CallCheck& check);

 private:
  Ext4Writer(std::filesystem::path file, base::Fd fd, Ext4Ptr fs);

  Result<void> add_lost_and_found(FileTree& tree);
  void number_inodes(FileTree& tree, const std::vector<FileTree::Id>& order);
  void mark_blocks(const FileTree& tree, const std::vector<FileTree::Id>& order);
  Result<void> close();

  std::filesystem::path file_;
  base::Fd fd_;
  Ext4Ptr fs_;
  BlockAllocator allocator_;
  BlockWriter data_;
};

}  // namespace microvm::host
