#include "host/transfer/tar_sink.hpp"

#include <algorithm>
#include <array>

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

// A file that is one hole has an empty piece at its beginning, as GNU tar and bsdtar write it.
void add_extents(archive_entry* header, const std::vector<FileExtent>& extents) {
  if (extents.empty()) archive_entry_sparse_add_entry(header, 0, 0);
  for (const FileExtent& extent : extents) {
    archive_entry_sparse_add_entry(header, static_cast<la_int64_t>(extent.offset),
                                   static_cast<la_int64_t>(extent.size));
  }
}

}  // namespace

TarSink::TarSink(const DataSink& out, std::string name) : out_(out), name_(std::move(name)) {}

la_ssize_t TarSink::write(archive* writer, void* self, const void* bytes, size_t size) {
  auto& sink = *static_cast<TarSink*>(self);
  const CLocale::Lifted lifted(sink.c_locale_);
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

std::string TarSink::path_of(const std::string& path) const {
  return path.empty() ? name_ : name_ + "/" + path;
}

Result<void> TarSink::begin(const TreeEntry& entry) {
  const FileInfo& info = entry.info;
  if (info.name.empty() && name_ == kOnlyContent && info.type != FileType::directory) {
    return not_a_directory("copy files");
  }
  const std::unique_ptr<archive_entry, EntryFree> header(archive_entry_new());
  if (!header) return base::fail(ErrorCode::out_of_memory, "libarchive");
  archive_entry_copy_pathname(header.get(), path_of(info.name).c_str());
  archive_entry_set_filetype(header.get(), tar_type(info.type));
  archive_entry_set_perm(header.get(), info.mode);
  archive_entry_set_uid(header.get(), info.uid);
  archive_entry_set_gid(header.get(), info.gid);
  int64_t seconds = info.mtime_ns / kNsPerSecond;
  if (info.mtime_ns % kNsPerSecond < 0) --seconds;
  archive_entry_set_mtime(header.get(), seconds, info.mtime_ns - seconds * kNsPerSecond);
  archive_entry_set_size(
      header.get(), info.type == FileType::regular ? static_cast<la_int64_t>(info.size_bytes) : 0);
  if (info.type == FileType::symlink) {
    archive_entry_copy_symlink(header.get(), info.link_target.c_str());
  }
  if (!entry.hard_link_to.empty()) {
    archive_entry_copy_hardlink(header.get(), path_of(entry.hard_link_to).c_str());
  }
  if (entry.extents) add_extents(header.get(), *entry.extents);
  return check(archive_write_header(writer_.get(), header.get()));
}

Result<void> TarSink::data(wire::ByteView bytes) {
  return check(archive_write_data(writer_.get(), bytes.data(), bytes.size()));
}

// The writer is told of all bytes, and leaves out those between the extents.
Result<void> TarSink::hole(uint64_t bytes) {
  static constexpr std::array<std::byte, 64 * 1024> kZeros{};
  while (bytes > 0) {
    const auto piece = wire::ByteView(kZeros).first(std::min<uint64_t>(bytes, kZeros.size()));
    if (auto written = data(piece); !written) return written;
    bytes -= piece.size();
  }
  return {};
}

Result<void> TarSink::finish() {
  return check(archive_write_close(writer_.get()));
}

}  // namespace microvm::host
