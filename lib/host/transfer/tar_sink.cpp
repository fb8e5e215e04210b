#include "host/transfer/tar_sink.hpp"

#include "host/base/printable.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/times.hpp"

namespace microvm::host {
namespace {

struct EntryFree {
  void operator()(archive_entry* entry) const noexcept { archive_entry_free(entry); }
};

unsigned tar_type(FileType type) {
  if (type == FileType::directory) return AE_IFDIR;
  return type == FileType::symlink ? AE_IFLNK : AE_IFREG;
}

}  // namespace

TarSink::TarSink(const DataSink& out, std::string name) : out_(out), name_(std::move(name)) {}

la_ssize_t TarSink::write(archive* writer, void* self, const void* bytes, size_t size) {
  auto& sink = *static_cast<TarSink*>(self);
  if (auto taken = sink.out_({static_cast<const std::byte*>(bytes), size}); !taken) {
    sink.failed_ = taken.error();
    archive_set_error(writer, EIO, "the sink failed");
    return -1;
  }
  return static_cast<la_ssize_t>(size);
}

// A warning is about a name that is not text in the C locale: its bytes go out as they are.
Result<void> TarSink::check(la_ssize_t result) {
  if (failed_) return base::fail(*failed_);
  if (result >= ARCHIVE_OK || result == ARCHIVE_WARN) return {};
  const char* words = archive_error_string(writer_.get());
  return base::fail(ErrorCode::io,
                    "write a tar: " + printable(words != nullptr ? words : "failed"));
}

Result<void> TarSink::open() {
  writer_.reset(archive_write_new());
  if (!writer_) return base::fail(ErrorCode::out_of_memory, "libarchive");
  archive_write_set_format_pax(writer_.get());
  archive_write_set_bytes_in_last_block(writer_.get(), 1);
  return check(archive_write_open(writer_.get(), this, nullptr, write, nullptr));
}

Result<void> TarSink::begin(const FileInfo& info) {
  if (info.name.empty() && name_ == kOnlyContent && info.type != FileType::directory) {
    return not_a_directory("copy files");
  }
  const std::unique_ptr<archive_entry, EntryFree> entry(archive_entry_new());
  if (!entry) return base::fail(ErrorCode::out_of_memory, "libarchive");
  const std::string path = info.name.empty() ? name_ : name_ + "/" + info.name;
  archive_entry_copy_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), tar_type(info.type));
  archive_entry_set_perm(entry.get(), info.mode);
  archive_entry_set_uid(entry.get(), info.uid);
  archive_entry_set_gid(entry.get(), info.gid);
  int64_t seconds = info.mtime_ns / kNsPerSecond;
  if (info.mtime_ns % kNsPerSecond < 0) --seconds;
  archive_entry_set_mtime(entry.get(), seconds, info.mtime_ns - seconds * kNsPerSecond);
  archive_entry_set_size(
      entry.get(), info.type == FileType::regular ? static_cast<la_int64_t>(info.size_bytes) : 0);
  if (info.type == FileType::symlink) {
    archive_entry_copy_symlink(entry.get(), info.link_target.c_str());
  }
  return check(archive_write_header(writer_.get(), entry.get()));
}

Result<void> TarSink::data(wire::ByteView bytes) {
  return check(archive_write_data(writer_.get(), bytes.data(), bytes.size()));
}

Result<void> TarSink::finish() {
  return check(archive_write_close(writer_.get()));
}

}  // namespace microvm::host
