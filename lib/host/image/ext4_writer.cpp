#include "host/image/ext4_writer.hpp"

#include <fcntl.h>

#include <algorithm>

#include "host/image/ext4_inodes.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;

namespace {

constexpr const char* kLostAndFound = "lost+found";

// The newest time in the tree stands in for "now".
uint32_t newest_time(const FileTree& tree, const std::vector<FileTree::Id>& order) {
  int64_t newest = 1;  // 0 means "ask the clock" to libext2fs
  for (const auto id : order) newest = std::max(newest, tree.node(id).mtime_s);
  return static_cast<uint32_t>(std::min<int64_t>(newest, INT32_MAX));
}

void set_clock(ext2_filsys fs, uint32_t now) {
  fs->now = static_cast<time_t>(now);
  fs->super->s_mkfs_time = now;
  fs->super->s_lastcheck = now;
  fs->super->s_wtime = now;
}

}  // namespace

Ext4Writer::Ext4Writer(std::filesystem::path file, base::Fd fd, Ext4Ptr fs)
    : file_(std::move(file)),
      fd_(std::move(fd)),
      fs_(std::move(fs)),
      allocator_(fs_.get()),
      data_(fd_.get(), file_.string()) {}

Result<std::unique_ptr<Ext4Writer>> Ext4Writer::create(const std::filesystem::path& file,
                                                       uint64_t disk_bytes, Ext4Use use) {
  if (disk_bytes < kMinDiskBytes || disk_bytes > kMaxDiskBytes || disk_bytes % kExt4BlockBytes != 0)
    return fail(ErrorCode::invalid_argument,
                "disk size " + std::to_string(disk_bytes) +
                    ": must be a multiple of 4096 from 16 MiB to 4 TiB");
  auto fd = open_file(file, O_RDWR);
  if (!fd) return fail(fd.error());
  if (::ftruncate(fd->get(), static_cast<off_t>(disk_bytes)) != 0)
    return fail_errno("resize " + file.string());
  auto fs = format_ext4(fd->get(), file.string(), disk_bytes, use);
  if (!fs) return fail(fs.error());
  return std::unique_ptr<Ext4Writer>(new Ext4Writer(file, std::move(*fd), std::move(*fs)));
}

size_t Ext4Writer::max_nodes() const {
  return fs_->super->s_inodes_count - EXT2_FIRST_INODE(fs_->super);
}

// fsck wants it.
Result<void> Ext4Writer::add_lost_and_found(FileTree& tree) {
  if (tree.node(FileTree::kRoot).children.contains(kLostAndFound)) return {};
  Node node;
  node.permissions = 0700;
  node.mtime_s = tree.node(FileTree::kRoot).mtime_s;
  if (auto added = tree.add(kLostAndFound, std::move(node)); !added) return fail(added.error());
  return {};
}

void Ext4Writer::number_inodes(FileTree& tree, const std::vector<FileTree::Id>& order) {
  uint32_t next = EXT2_FIRST_INODE(fs_->super);
  for (const auto id : order) {
    Node& node = tree.node(id);
    node.inode = id == FileTree::kRoot ? EXT2_ROOT_INO : next++;
    ext2fs_inode_alloc_stats2(fs_.get(), node.inode, +1, node.kind == NodeKind::directory);
  }
}

void Ext4Writer::mark_blocks(const FileTree& tree, const std::vector<FileTree::Id>& order) {
  for (const auto id : order)
    for (const auto& run : tree.node(id).blocks)
      ext2fs_block_alloc_stats_range(fs_.get(), run.physical, run.count, +1);
}

Result<void> Ext4Writer::close() {
  ext2_filsys raw = fs_.get();
  ext2fs_mark_super_dirty(raw);
  if (const errcode_t code = ext2fs_flush(raw); code != 0)
    return ext4_failure(code, "write " + file_.string());
  raw = fs_.release();
  if (const errcode_t code = ext2fs_close_free(&raw); code != 0)
    return ext4_failure(code, "write " + file_.string());
  return {};
}

Result<void> Ext4Writer::finish(FileTree& tree, const CallCheck& check) {
  if (auto flushed = data_.flush(); !flushed) return flushed;
  if (auto added = add_lost_and_found(tree); !added) return added;
  const auto order = tree.walk();
  set_clock(fs_.get(), newest_time(tree, order));
  number_inodes(tree, order);
  mark_blocks(tree, order);
  {
    InodeWriter inodes(fs_.get(), allocator_, tree);
    constexpr size_t kNodesPerCheck = 1024;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i % kNodesPerCheck == 0)
        if (auto go_on = check(); !go_on) return go_on;
      if (auto written = inodes.write(order[i]); !written) return written;
    }
  }
  if (auto added = add_own_inodes(fs_.get(), file_.string()); !added) return added;
  return close();
}

}  // namespace microvm::host
