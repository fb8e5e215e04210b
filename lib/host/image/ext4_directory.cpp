#include "host/image/ext4_directory.hpp"

#include <cstring>

#include "host/image/ext4_layout.hpp"

namespace microvm::host {

namespace {

constexpr size_t kTailBytes = sizeof(ext2_dir_entry_tail);
constexpr size_t kUsableBytes = kExt4BlockBytes - kTailBytes;
constexpr size_t kEntryHeaderBytes = 8;

size_t entry_bytes(const DirectoryEntry& entry) {
  return (kEntryHeaderBytes + entry.name.size() + 3) / 4 * 4;
}

void store_le(Bytes& block, size_t at, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) block[at + i] = static_cast<std::byte>(value >> (8 * i));
}

// linux: struct ext4_dir_entry_2.
void put_entry(Bytes& block, size_t at, const DirectoryEntry& entry) {
  store_le(block, at, entry.inode, 4);
  store_le(block, at + 4, entry_bytes(entry), 2);
  store_le(block, at + 6, entry.name.size(), 1);
  store_le(block, at + 7, entry.type, 1);
  std::memcpy(block.data() + at + kEntryHeaderBytes, entry.name.data(), entry.name.size());
}

void end_block(ext2_filsys fs, Bytes& block, size_t last_entry) {
  store_le(block, last_entry + 4, kUsableBytes - last_entry, 2);
  ext2fs_initialize_dirent_tail(
      fs, reinterpret_cast<ext2_dir_entry_tail*>(block.data() + kUsableBytes));
}

}  // namespace

std::vector<Bytes> pack_directory(ext2_filsys fs, const std::vector<DirectoryEntry>& entries) {
  std::vector<Bytes> blocks;
  size_t used = kUsableBytes;
  size_t last_entry = 0;
  for (const auto& entry : entries) {
    if (entry_bytes(entry) > kUsableBytes - used) {
      if (!blocks.empty()) end_block(fs, blocks.back(), last_entry);
      blocks.emplace_back(kExt4BlockBytes);
      used = 0;
    }
    put_entry(blocks.back(), used, entry);
    last_entry = used;
    used += entry_bytes(entry);
  }
  if (!blocks.empty()) end_block(fs, blocks.back(), last_entry);
  return blocks;
}

}  // namespace microvm::host
