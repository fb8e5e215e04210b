#include "host/image/ext4_inodes.hpp"

#include <ext2fs/ext3_extents.h>

#include <algorithm>
#include <cstring>

#include "host/image/ext4_directory.hpp"
#include "host/image/ext4_layout.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr uint16_t kExtraInodeBytes = 32;
constexpr size_t kInlineTargetBytes = 60;  // i_block holds the target and its zero byte
constexpr size_t kInlineExtents = 4;
constexpr uint32_t kMaxLinks = 65000;

uint16_t type_bits(NodeKind kind) {
  switch (kind) {
    case NodeKind::directory:
      return LINUX_S_IFDIR;
    case NodeKind::file:
      return LINUX_S_IFREG;
    case NodeKind::symlink:
      return LINUX_S_IFLNK;
    case NodeKind::character_device:
      return LINUX_S_IFCHR;
    case NodeKind::block_device:
      return LINUX_S_IFBLK;
    case NodeKind::fifo:
      return LINUX_S_IFIFO;
    case NodeKind::socket:
      return LINUX_S_IFSOCK;
  }
  return 0;
}

uint8_t entry_type(NodeKind kind) {
  switch (kind) {
    case NodeKind::directory:
      return EXT2_FT_DIR;
    case NodeKind::file:
      return EXT2_FT_REG_FILE;
    case NodeKind::symlink:
      return EXT2_FT_SYMLINK;
    case NodeKind::character_device:
      return EXT2_FT_CHRDEV;
    case NodeKind::block_device:
      return EXT2_FT_BLKDEV;
    case NodeKind::fifo:
      return EXT2_FT_FIFO;
    case NodeKind::socket:
      return EXT2_FT_SOCK;
  }
  return EXT2_FT_UNKNOWN;
}

// ext4 keeps 34 bits of seconds: the low 32 as a signed number, two more beside the nanoseconds.
void set_times(ext2_inode_large& inode, int64_t seconds, uint32_t nanoseconds) {
  constexpr int64_t kMinSeconds = INT32_MIN;
  constexpr int64_t kMaxSeconds = (int64_t{3} << 32) + INT32_MAX;
  seconds = std::clamp(seconds, kMinSeconds, kMaxSeconds);
  const auto low = static_cast<uint32_t>(seconds);
  const int64_t epoch = (seconds - static_cast<int32_t>(low)) >> 32;
  const auto extra = (static_cast<uint32_t>(epoch) & 3) | (nanoseconds << 2);
  inode.i_mtime = inode.i_ctime = inode.i_atime = inode.i_crtime = low;
  inode.i_mtime_extra = inode.i_ctime_extra = inode.i_atime_extra = inode.i_crtime_extra = extra;
}

// linux: new_encode_dev() where the numbers do not fit the old form.
void set_device(ext2_inode_large& inode, uint32_t major, uint32_t minor) {
  if (major < 256 && minor < 256)
    inode.i_block[0] = (major << 8) | minor;
  else
    inode.i_block[1] = (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

void set_size(ext2_inode_large& inode, uint64_t bytes) {
  inode.i_size = static_cast<uint32_t>(bytes);
  inode.i_size_high = static_cast<uint32_t>(bytes >> 32);
}

// Runs that fit into the inode itself.
void set_extents(ext2_inode_large& inode, const std::vector<BlockRun>& runs) {
  inode.i_flags |= EXT4_EXTENTS_FL;
  ext3_extent_header header{};
  header.eh_magic = EXT3_EXT_MAGIC;
  header.eh_max = kInlineExtents;
  header.eh_entries = static_cast<uint16_t>(runs.size());
  auto* at = reinterpret_cast<std::byte*>(&inode.i_block[0]);
  std::memcpy(at, &header, sizeof header);
  for (const auto& run : runs) {
    at += sizeof(ext3_extent);
    ext3_extent extent{};
    extent.ee_block = run.logical;
    extent.ee_len = static_cast<uint16_t>(run.count);
    extent.ee_start = static_cast<uint32_t>(run.physical);
    extent.ee_start_hi = static_cast<uint16_t>(run.physical >> 32);
    std::memcpy(at, &extent, sizeof extent);
  }
}

ext2_inode_large new_inode(const Node& node) {
  ext2_inode_large inode{};
  inode.i_mode = static_cast<uint16_t>(type_bits(node.kind) | (node.permissions & 07777));
  inode.i_uid = static_cast<uint16_t>(node.uid);
  inode.i_gid = static_cast<uint16_t>(node.gid);
  inode.osd2.linux2.l_i_uid_high = static_cast<uint16_t>(node.uid >> 16);
  inode.osd2.linux2.l_i_gid_high = static_cast<uint16_t>(node.gid >> 16);
  inode.i_links_count = static_cast<uint16_t>(node.names);
  inode.i_extra_isize = kExtraInodeBytes;
  set_times(inode, node.mtime_s, node.mtime_ns);
  return inode;
}

ext2_inode* as_small(ext2_inode_large& inode) {
  return reinterpret_cast<ext2_inode*>(&inode);
}

// Called by libext2fs for the blocks of extent trees and extended attributes. The allocator's
// blocks are the ones above everything given out so far, so none of them is in use.
errcode_t allocate_for_libext2fs(ext2_filsys fs, blk64_t, blk64_t* block) {
  const auto next = static_cast<BlockAllocator*>(fs->priv_data)->next();
  if (!next) return EXT2_ET_BLOCK_ALLOC_FAIL;
  *block = *next;
  return 0;
}

}  // namespace

InodeWriter::InodeWriter(ext2_filsys fs, BlockAllocator& allocator, FileTree& tree)
    : fs_(fs), allocator_(allocator), tree_(tree) {
  fs->priv_data = &allocator_;
  ext2fs_set_alloc_block_callback(fs, allocate_for_libext2fs, nullptr);
}

InodeWriter::~InodeWriter() {
  ext2fs_set_alloc_block_callback(fs_, nullptr, nullptr);
  fs_->priv_data = nullptr;
}

Result<uint64_t> InodeWriter::new_block() {
  const auto block = allocator_.next();
  if (block) ext2fs_block_alloc_stats2(fs_, *block, +1);
  return block;
}

Result<void> InodeWriter::place_directory(FileTree::Id id, ext2_inode_large& inode) {
  const Node& node = tree_.node(id);
  std::vector<DirectoryEntry> entries{{".", node.inode, EXT2_FT_DIR},
                                      {"..", tree_.node(node.parent).inode, EXT2_FT_DIR}};
  uint32_t links = 2;  // its name and "."; each directory in it has a ".."
  for (const auto& [name, child_id] : node.children) {
    const Node& child = tree_.node(child_id);
    if (child.kind == NodeKind::directory) ++links;
    entries.push_back({name, child.inode, entry_type(child.kind)});
  }
  inode.i_links_count = static_cast<uint16_t>(links > kMaxLinks ? 1 : links);  // dir_nlink
  uint32_t logical = 0;
  for (auto& block : pack_directory(fs_, entries)) {
    const auto physical = new_block();
    if (!physical) return fail(physical.error());
    append_block(runs_, logical++, *physical);
    if (const errcode_t code = ext2fs_write_dir_block4(fs_, *physical, block.data(), 0, node.inode);
        code != 0)
      return ext4_failure(code, "write a directory");
  }
  set_size(inode, uint64_t{logical} * kExt4BlockBytes);
  return {};
}

Result<void> InodeWriter::place_symlink(const Node& node, ext2_inode_large& inode) {
  set_size(inode, node.target.size());
  if (node.target.size() < kInlineTargetBytes) {
    std::memcpy(&inode.i_block[0], node.target.data(), node.target.size());
    return {};
  }
  const auto physical = new_block();
  if (!physical) return fail(physical.error());
  append_block(runs_, 0, *physical);
  Bytes block(kExt4BlockBytes);
  std::memcpy(block.data(), node.target.data(), std::min(node.target.size(), block.size() - 1));
  const errcode_t code = io_channel_write_blk64(fs_->io, *physical, 1, block.data());
  if (code != 0) return ext4_failure(code, "write a symlink");
  return {};
}

Result<void> InodeWriter::place_content(FileTree::Id id, ext2_inode_large& inode) {
  const Node& node = tree_.node(id);
  switch (node.kind) {
    case NodeKind::directory:
      return place_directory(id, inode);
    case NodeKind::symlink:
      return place_symlink(node, inode);
    case NodeKind::file:
      set_size(inode, node.size_bytes);
      runs_ = node.blocks;
      return {};
    case NodeKind::character_device:
    case NodeKind::block_device:
      set_device(inode, node.device_major, node.device_minor);
      return {};
    case NodeKind::fifo:
    case NodeKind::socket:
      return {};
  }
  return {};
}

// More runs than the inode holds: libext2fs builds the tree in an inode that is already written.
Result<void> InodeWriter::write_extent_tree(const Node& node, const std::vector<BlockRun>& runs) {
  ext2_extent_handle_t handle = nullptr;
  errcode_t code = ext2fs_extent_open(fs_, node.inode, &handle);
  for (const auto& run : runs) {
    if (code != 0) break;
    ext2fs_extent extent{};
    extent.e_lblk = run.logical;
    extent.e_pblk = run.physical;
    extent.e_len = run.count;
    code = ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &extent);
    if (code == 0) code = ext2fs_extent_fix_parents(handle);
  }
  if (handle != nullptr) ext2fs_extent_free(handle);
  if (code != 0) return ext4_failure(code, "write a file's extents");
  return {};
}

Result<void> InodeWriter::write_runs(const Node& node, const std::vector<BlockRun>& runs,
                                     ext2_inode_large& inode) {
  const bool fits = runs.size() <= kInlineExtents;
  const bool has_blocks = node.kind == NodeKind::file || node.kind == NodeKind::directory ||
                          (node.kind == NodeKind::symlink && !runs.empty());
  if (has_blocks) set_extents(inode, fits ? runs : std::vector<BlockRun>{});
  uint64_t blocks = 0;
  for (const auto& run : runs) blocks += run.count;
  ext2fs_iblk_set(fs_, as_small(inode), blocks);
  const errcode_t code = ext2fs_write_inode_full(fs_, node.inode, as_small(inode), sizeof inode);
  if (code != 0) return ext4_failure(code, "write an inode");
  return fits ? Result<void>() : write_extent_tree(node, runs);
}

Result<void> InodeWriter::write_xattrs(const Node& node) {
  if (node.xattrs.empty()) return {};
  ext2_xattr_handle* handle = nullptr;
  errcode_t code = ext2fs_xattrs_open(fs_, node.inode, &handle);
  if (code != 0) return ext4_failure(code, "write extended attributes");
  code = ext2fs_xattrs_read(handle);
  for (const auto& [name, value] : node.xattrs)
    if (code == 0) code = ext2fs_xattr_set(handle, name.c_str(), value.data(), value.size());
  ext2fs_xattrs_close(&handle);
  if (code != 0) return ext4_failure(code, "extended attributes of a file");
  return {};
}

Result<void> InodeWriter::write(FileTree::Id id) {
  const Node& node = tree_.node(id);
  ext2_inode_large inode = new_inode(node);
  runs_.clear();
  if (auto placed = place_content(id, inode); !placed) return placed;
  if (auto written = write_runs(node, runs_, inode); !written) return written;
  return write_xattrs(node);
}

}  // namespace microvm::host
