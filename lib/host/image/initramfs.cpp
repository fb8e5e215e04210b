#include "host/image/initramfs.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <memory>

#include "host/store/digest.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;

namespace {

struct WriterFree {
  void operator()(archive* writer) const noexcept { archive_write_free(writer); }
};
struct EntryFree {
  void operator()(archive_entry* entry) const noexcept { archive_entry_free(entry); }
};

la_ssize_t append(archive*, void* out, const void* data, size_t size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  static_cast<std::vector<std::byte>*>(out)->insert(
      static_cast<std::vector<std::byte>*>(out)->end(), bytes, bytes + size);
  return static_cast<la_ssize_t>(size);
}

class Cpio {
 public:
  Cpio() : writer_(archive_write_new()) {
    ok_ = writer_ && archive_write_set_format_cpio_newc(writer_.get()) == ARCHIVE_OK &&
          archive_write_set_bytes_per_block(writer_.get(), 0) == ARCHIVE_OK &&
          archive_write_open(writer_.get(), &bytes_, nullptr, append, nullptr) == ARCHIVE_OK;
  }

  void add_dir(const char* path, unsigned mode = 0755) { add(path, AE_IFDIR | mode, {}); }
  void add_file(const std::string& path, unsigned mode, std::span<const std::byte> content) {
    add(path, AE_IFREG | mode, content);
  }
  // The kernel opens it as the standard streams of /init.
  void add_console() { add("dev/console", AE_IFCHR | 0600, {}, 5, 1); }

  Result<std::vector<std::byte>> finish() {
    if (!ok_ || archive_write_close(writer_.get()) != ARCHIVE_OK)
      return fail(ErrorCode::out_of_memory, "initramfs: libarchive failed");
    return std::move(bytes_);
  }

 private:
  void add(const std::string& path, unsigned mode, std::span<const std::byte> content,
           unsigned major = 0, unsigned minor = 0) {
    const std::unique_ptr<archive_entry, EntryFree> entry(archive_entry_new());
    if (!ok_ || !entry) {
      ok_ = false;
      return;
    }
    archive_entry_set_pathname(entry.get(), path.c_str());
    archive_entry_set_mode(entry.get(), mode);
    archive_entry_set_ino(entry.get(), next_inode_++);
    archive_entry_set_nlink(entry.get(), 1);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_rdevmajor(entry.get(), major);
    archive_entry_set_rdevminor(entry.get(), minor);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    ok_ = archive_write_header(writer_.get(), entry.get()) == ARCHIVE_OK &&
          archive_write_data(writer_.get(), content.data(), content.size()) ==
              static_cast<la_ssize_t>(content.size());
  }

  std::vector<std::byte> bytes_;  // before the writer: it still appends while it is freed
  std::unique_ptr<archive, WriterFree> writer_;
  la_int64_t next_inode_ = 1;
  bool ok_ = false;
};

}  // namespace

Result<std::vector<std::byte>> make_initramfs(std::span<const std::byte> agent,
                                              std::span<const InitramfsModule> modules) {
  Cpio cpio;
  for (const char* dir : {"dev", "proc", "sys", "run", "tmp", "root", "modules"}) cpio.add_dir(dir);
  cpio.add_console();
  cpio.add_file("init", 0755, agent);
  for (const auto& module : modules) cpio.add_file("modules/" + module.file, 0644, module.bytes);
  return cpio.finish();
}

Result<std::vector<std::byte>> make_initramfs(std::span<const std::byte> agent,
                                              const KernelEntry& kernel) {
  std::vector<InitramfsModule> modules;
  for (const auto& record : kernel.manifest.modules) {
    auto bytes = read_file(kernel.path(record), record.size_bytes);
    if (!bytes) return fail(bytes.error());
    if (sha256_hex(*bytes) != record.sha256)
      return fail(ErrorCode::corrupt, kernel.path(record).string() +
                                          ": damaged; remove the kernel and import it again");
    modules.push_back({record.file, std::move(*bytes)});
  }
  return make_initramfs(agent, modules);
}

}  // namespace microvm::host
