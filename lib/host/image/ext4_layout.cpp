#include "host/image/ext4_layout.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "sys/file.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;

namespace {

constexpr uint32_t kInodeBytes = 256;
constexpr uint32_t kWantedExtraInodeBytes = 32;
constexpr uint64_t kBytesPerInode = 16384;
constexpr uint32_t kJournalBlocks = 4096;     // 16 MiB
constexpr uint32_t kMinJournalBlocks = 1024;  // what jbd2 accepts

// Fixed, so that the same content gives the same bytes. Each Vm sees one disk of each use.
constexpr std::array<uint8_t, 16> kUuid = {0x6d, 0x69, 0x63, 0x72, 0x6f, 0x76, 0x4d, 0x00,
                                           0x80, 0x00, 0x62, 0x61, 0x73, 0x65, 0x00, 0x01};
constexpr std::array<uint32_t, 4> kHashSeed = {0x6d696372, 0x6f766d00, 0x62617365, 0x00000001};

void choose_features(ext2_super_block& wanted) {
  wanted.s_feature_compat = EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_DIR_INDEX;
  wanted.s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                              EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_64BIT;
  wanted.s_feature_ro_compat =
      EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
      EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
      EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;
}

ext2_super_block geometry(uint64_t disk_bytes) {
  ext2_super_block wanted{};
  ext2fs_blocks_count_set(&wanted, disk_bytes / kExt4BlockBytes);
  wanted.s_rev_level = EXT2_DYNAMIC_REV;
  wanted.s_log_block_size = 2;    // 1024 << 2
  wanted.s_log_cluster_size = 2;  //
  wanted.s_inode_size = kInodeBytes;
  wanted.s_inodes_count = static_cast<uint32_t>(
      std::min<uint64_t>(disk_bytes / kBytesPerInode, UINT32_MAX - kInodeBytes));
  wanted.s_log_groups_per_flex = 4;
  wanted.s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
  choose_features(wanted);
  return wanted;
}

void set_identity(ext2_filsys fs, Ext4Use use) {
  ext2_super_block& super = *fs->super;
  // After ext2fs_initialize(), which does not choose one: without it no checksum is right.
  super.s_checksum_type = EXT2_CRC32C_CHKSUM;
  std::memcpy(super.s_uuid, kUuid.data(), kUuid.size());
  super.s_uuid[kUuid.size() - 1] = static_cast<uint8_t>(use);
  std::memcpy(super.s_hash_seed, kHashSeed.data(), sizeof kHashSeed);
  super.s_def_hash_version = EXT2_HASH_HALF_MD4;
  super.s_flags = EXT2_FLAGS_UNSIGNED_HASH;
  super.s_min_extra_isize = kWantedExtraInodeBytes;
  super.s_want_extra_isize = kWantedExtraInodeBytes;
  super.s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super.s_errors = EXT2_ERRORS_RO;
  super.s_max_mnt_count = -1;
  super.s_checkinterval = 0;
  ext2fs_init_csum_seed(fs);
}

// The inode tables are holes of the file and so zero already: the guest's kernel need not zero
// them.
void mark_inode_tables_zeroed(ext2_filsys fs) {
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
    ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED);
    ext2fs_group_desc_csum_set(fs, group);
  }
}

void reserve_inodes(ext2_filsys fs) {
  for (ext2_ino_t ino = 1; ino < EXT2_FIRST_INODE(fs->super); ++ino)
    if (ino != EXT2_ROOT_INO) ext2fs_inode_alloc_stats2(fs, ino, +1, 0);
}

}  // namespace

// What libext2fs opens by itself has no close-on-exec: a program that the embedder starts just then
// would have it. It closes what it is given.
Result<Ext4Ptr> format_ext4(int file, const std::string& name, uint64_t disk_bytes, Ext4Use use) {
  ext2_super_block wanted = geometry(disk_bytes);
  auto own = sys::duplicate(file, "format " + name);
  if (!own) return base::fail(own.error());
  ext2_filsys raw = nullptr;
  const errcode_t code =
      ext2fs_initialize(std::to_string(own->release()).c_str(), EXT2_FLAG_64BITS | EXT2_FLAG_RW,
                        &wanted, unixfd_io_manager, &raw);
  if (code != 0) return ext4_failure(code, "format " + name);
  Ext4Ptr fs(raw);
  set_identity(raw, use);
  if (const errcode_t tables = ext2fs_allocate_tables(raw); tables != 0)
    return ext4_failure(tables, "format " + name);
  mark_inode_tables_zeroed(raw);
  reserve_inodes(raw);
  return fs;
}

Result<void> add_own_inodes(ext2_filsys fs, const std::string& name) {
  if (const errcode_t code = ext2fs_update_bb_inode(fs, nullptr); code != 0)
    return ext4_failure(code, "list of bad blocks of " + name);
  const uint64_t fitting = ext2fs_blocks_count(fs->super) / 64;
  ext2fs_journal_params params{};
  params.num_journal_blocks =
      static_cast<blk_t>(std::clamp<uint64_t>(fitting, kMinJournalBlocks, kJournalBlocks));
  constexpr blk64_t kAnywhere = ~blk64_t{0};
  // "Lazy": its blocks are holes, which read as the zeros that would be written.
  const errcode_t code = ext2fs_add_journal_inode3(
      fs, &params, kAnywhere, EXT2_MKJOURNAL_NO_MNT_CHECK | EXT2_MKJOURNAL_LAZYINIT);
  if (code != 0) return ext4_failure(code, "journal of " + name);
  return {};
}

base::Failure ext4_failure(errcode_t code, const std::string& what) {
  constexpr errcode_t kFirstOwnCode = 256;
  if (code > 0 && code < kFirstOwnCode) return fail_errno(what, static_cast<int>(code));
  switch (code) {
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_INODE_ALLOC_FAIL:
    case EXT2_ET_TOOSMALL:
      return fail(ErrorCode::invalid_argument,
                  what + ": the content does not fit; choose a larger disk size");
    case EXT2_ET_SHORT_WRITE:
      return fail(ErrorCode::out_of_disk, what + ": no space left on the host's disk");
    case EXT2_ET_NO_MEMORY:
      return fail(ErrorCode::out_of_memory, what + ": out of memory");
    case EXT2_ET_EA_NO_SPACE:
      return fail(ErrorCode::invalid_argument, what + ": its extended attributes are too large");
    default:
      return fail(ErrorCode::internal, what + ": libext2fs error " + std::to_string(code));
  }
}

}  // namespace microvm::host
