// Tars made by the tests, and an ext4 file read back through libext2fs and checked by e2fsck.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>
#include <ext2fs/ext2fs.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace microvm::test {

class TarMaker {
 public:
  explicit TarMaker(std::filesystem::path file, bool zstd = false) : file_(std::move(file)) {
    archive_write_set_format_pax(writer_);
    if (zstd) archive_write_add_filter_zstd(writer_);
    REQUIRE(archive_write_open_filename(writer_, file_.c_str()) == ARCHIVE_OK);
  }
  TarMaker(const TarMaker&) = delete;
  TarMaker& operator=(const TarMaker&) = delete;
  ~TarMaker() { archive_write_free(writer_); }

  using Change = std::function<void(archive_entry*)>;

  TarMaker& file(const std::string& path, const std::string& content, const Change& change = {}) {
    return add(path, AE_IFREG | 0644, content, change);
  }
  TarMaker& dir(const std::string& path, unsigned mode = 0755) {
    return add(path, AE_IFDIR | mode, {}, {});
  }
  TarMaker& symlink(const std::string& path, const std::string& target) {
    return add(path, AE_IFLNK | 0777, {},
               [&](archive_entry* entry) { archive_entry_set_symlink(entry, target.c_str()); });
  }
  TarMaker& hard_link(const std::string& path, const std::string& target) {
    return add(path, AE_IFREG | 0644, {},
               [&](archive_entry* entry) { archive_entry_set_hardlink(entry, target.c_str()); });
  }
  TarMaker& special(const std::string& path, unsigned mode, unsigned major, unsigned minor) {
    return add(path, mode, {}, [&](archive_entry* entry) {
      archive_entry_set_rdevmajor(entry, major);
      archive_entry_set_rdevminor(entry, minor);
    });
  }
  std::filesystem::path done() {
    REQUIRE(archive_write_close(writer_) == ARCHIVE_OK);
    return file_;
  }

 private:
  TarMaker& add(const std::string& path, unsigned mode, const std::string& content,
                const Change& change) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_mode(entry, mode);
    archive_entry_set_mtime(entry, 1'000'000'000, 0);
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    if (change) change(entry);
    REQUIRE(archive_write_header(writer_, entry) >= ARCHIVE_WARN);
    if (!content.empty())
      REQUIRE(archive_write_data(writer_, content.data(), content.size()) ==
              static_cast<la_ssize_t>(content.size()));
    archive_entry_free(entry);
    return *this;
  }

  std::filesystem::path file_;
  archive* writer_ = archive_write_new();
};

class Ext4Reader {
 public:
  explicit Ext4Reader(const std::filesystem::path& file) {
    REQUIRE(ext2fs_open(file.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs_) == 0);
  }
  Ext4Reader(const Ext4Reader&) = delete;
  Ext4Reader& operator=(const Ext4Reader&) = delete;
  ~Ext4Reader() { ext2fs_free(fs_); }

  [[nodiscard]] unsigned last_uuid_byte() const { return fs_->super->s_uuid[15]; }
  // 0 when there is no such path. Symlinks are not followed at the end.
  ext2_ino_t find(const std::string& path) {
    ext2_ino_t ino = 0;
    return ext2fs_namei(fs_, EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &ino) == 0 ? ino : 0;
  }
  ext2_inode_large inode(const std::string& path) {
    ext2_inode_large inode{};
    const auto ino = find(path);
    REQUIRE(ino != 0);
    REQUIRE(ext2fs_read_inode_full(fs_, ino, reinterpret_cast<ext2_inode*>(&inode), sizeof inode) ==
            0);
    return inode;
  }
  std::string content(const std::string& path) {
    ext2_file_t file = nullptr;
    const auto ino = find(path);
    REQUIRE(ino != 0);
    REQUIRE(ext2fs_file_open(fs_, ino, 0, &file) == 0);
    std::string text(EXT2_I_SIZE(ext2fs_file_get_inode(file)), '\0');
    for (size_t at = 0; at < text.size();) {
      unsigned got = 0;
      REQUIRE(ext2fs_file_read(file, text.data() + at,
                               static_cast<unsigned>(std::min<size_t>(text.size() - at, 1u << 20)),
                               &got) == 0);
      REQUIRE(got > 0);
      at += got;
    }
    ext2fs_file_close(file);
    return text;
  }
  // The blocks of the longest extent.
  uint32_t longest_run(const std::string& path) {
    ext2_extent_handle_t handle = nullptr;
    REQUIRE(ext2fs_extent_open(fs_, find(path), &handle) == 0);
    uint32_t longest = 0;
    ext2fs_extent extent{};
    for (auto code = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent); code == 0;
         code = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_LEAF, &extent)) {
      if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) != 0) longest = std::max(longest, extent.e_len);
    }
    ext2fs_extent_free(handle);
    return longest;
  }
  std::optional<std::string> xattr(const std::string& path, const char* name) {
    ext2_xattr_handle* handle = nullptr;
    REQUIRE(ext2fs_xattrs_open(fs_, find(path), &handle) == 0);
    REQUIRE(ext2fs_xattrs_read(handle) == 0);
    void* value = nullptr;
    size_t size = 0;
    std::optional<std::string> found;
    if (ext2fs_xattr_get(handle, name, &value, &size) == 0) {
      found.emplace(static_cast<char*>(value), size);
      ext2fs_free_mem(static_cast<void*>(&value));
    }
    ext2fs_xattrs_close(&handle);
    return found;
  }

 private:
  ext2_filsys fs_ = nullptr;
};

inline bool fsck_clean(const std::filesystem::path& file) {
  const std::string command =
      "PATH=$PATH:/usr/sbin:/sbin e2fsck -fn '" + file.string() + "' >/dev/null 2>&1";
  return std::system(command.c_str()) == 0;
}

}  // namespace microvm::test
