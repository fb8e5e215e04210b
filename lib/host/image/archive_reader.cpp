#include "host/image/archive_reader.hpp"

#include <array>
#include <cerrno>

#include "host/base/printable.hpp"

namespace microvm::host {

using base::fail;
using base::fail_errno;

namespace {

constexpr size_t kReadBytes = 256u << 10;

// Every compression that is decoded in this process.
Result<ArchivePtr> new_reader() {
  ArchivePtr reader(archive_read_new());
  if (!reader) return fail(ErrorCode::out_of_memory, "libarchive");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_bzip2(reader.get());
  archive_read_support_filter_xz(reader.get());
  archive_read_support_filter_lzma(reader.get());
  archive_read_support_filter_lz4(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_filter_compress(reader.get());
  return reader;
}

}  // namespace

Result<ArchivePtr> new_tar_reader() {
  auto reader = new_reader();
  if (reader) archive_read_support_format_tar(reader->get());
  return reader;
}

Result<ArchivePtr> new_raw_reader() {
  auto reader = new_reader();
  if (reader) archive_read_support_format_raw(reader->get());
  return reader;
}

Result<ArchivePtr> open_tar(const base::Fd& fd, const std::string& name) {
  auto reader = new_tar_reader();
  if (!reader) return reader;
  if (archive_read_open_fd(reader->get(), fd.get(), kReadBytes) != ARCHIVE_OK)
    return archive_failure(reader->get(), name);
  return reader;
}

Result<bool> next_entry(archive* reader, archive_entry*& entry, const std::string& name) {
  const int result = archive_read_next_header(reader, &entry);
  if (result == ARCHIVE_EOF) return false;
  // A warning is about a name that is not text in the C locale: its bytes are what is wanted.
  if (result == ARCHIVE_OK || result == ARCHIVE_WARN) return true;
  return archive_failure(reader, name);
}

Result<Bytes> read_entry(archive* reader, size_t max_bytes, const std::string& name,
                         const CallCheck& check) {
  Bytes bytes;
  std::array<std::byte, 65536> chunk;
  for (;;) {
    if (auto go_on = check(); !go_on) return fail(go_on.error());
    const la_ssize_t count = archive_read_data(reader, chunk.data(), chunk.size());
    if (count < 0) return archive_failure(reader, name);
    if (count == 0) return bytes;
    if (static_cast<size_t>(count) > max_bytes - bytes.size())
      return fail(ErrorCode::corrupt,
                  name + ": larger than " + std::to_string(max_bytes >> 20) + " MiB");
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + count);
  }
}

base::Failure archive_failure(archive* reader, const std::string& name) {
  const int err = archive_errno(reader);
  if (err == EIO || err == ENOMEM) return fail_errno("read " + name, err);
  const char* words = archive_error_string(reader);
  return fail(ErrorCode::corrupt, name + ": truncated or damaged (" +
                                      printable(words != nullptr ? words : "no reason given") +
                                      ")");
}

std::string entry_path(archive_entry* entry) {
  if (const char* path = archive_entry_pathname(entry)) return path;
  const char* path = archive_entry_pathname_utf8(entry);
  return path != nullptr ? path : "";
}

}  // namespace microvm::host
