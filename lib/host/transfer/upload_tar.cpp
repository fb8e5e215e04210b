#include <algorithm>
#include <optional>

#include "host/image/archive_reader.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/times.hpp"
#include "host/transfer/upload.hpp"

namespace microvm::host {
namespace {

constexpr const char* kTar = "the tar";

uint32_t clamp_id(la_int64_t id) {
  return static_cast<uint32_t>(std::clamp<la_int64_t>(id, 0, UINT32_MAX - 1));
}

// "./a//b/" → "a/b". Error: corrupt when there is a "..".
Result<std::string> clean_path(std::string_view path) {
  std::string clean;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      return base::fail(ErrorCode::corrupt, "the tar has an entry with \"..\" in its path");
    }
    clean += clean.empty() ? "" : "/";
    clean += part;
  }
  return clean;
}

class TarUpload {
 public:
  TarUpload(PutStream& stream, const DataSource& source, const std::string& directory,
            const UploadOptions& options, const Limits& limits)
      : stream_(stream),
        source_(source),
        directory_(directory),
        options_(options),
        limits_(limits) {}

  Result<TransferTotals> run() {
    auto reader = new_tar_reader();
    if (!reader) return base::fail(reader.error());
    reader_ = reader->get();
    if (archive_read_open(reader_, this, nullptr, read, nullptr) != ARCHIVE_OK) return failed();
    archive_entry* entry = nullptr;
    for (;;) {
      const auto more = next_entry(reader_, entry, kTar);
      if (!more) return failed(more.error());
      if (!*more) return totals_;
      if (auto sent = send(entry); !sent) return failed(sent.error());
    }
  }

 private:
  static la_ssize_t read(archive* reader, void* self, const void** bytes) {
    auto& upload = *static_cast<TarUpload*>(self);
    const CLocale::Lifted lifted(upload.c_locale_);
    const auto got = upload.source_(upload.buffer_);
    if (!got) {
      upload.source_failed_ = got.error();
      archive_set_error(reader, EIO, "the source failed");
      return -1;
    }
    *bytes = upload.buffer_.data();
    return static_cast<la_ssize_t>(std::min(*got, upload.buffer_.size()));
  }

  base::Failure failed() {
    return source_failed_ ? base::fail(*source_failed_) : archive_failure(reader_, kTar);
  }
  base::Failure failed(const Error& error) {
    return base::fail(source_failed_ ? *source_failed_ : error);
  }

  Result<void> send(archive_entry* entry) {
    const auto path = clean_path(entry_path(entry));
    if (!path) return base::fail(path.error());
    if (path->empty()) return {};  // "./": the directory itself
    if (++seen_ > options_.max_entries) return too_many_entries(options_);
    if (const char* target = archive_entry_hardlink(entry)) return send_hard_link(*path, target);
    FileToPut file = describe(entry, *path);
    switch (archive_entry_filetype(entry)) {
      case AE_IFREG:
        return send_regular(entry, file);
      case AE_IFDIR:
        file.type = FileToPut::Type::directory;
        break;
      case AE_IFLNK: {
        const char* target = archive_entry_symlink(entry);
        file.type = FileToPut::Type::symlink;
        file.link_target = target != nullptr ? target : "";
        break;
      }
      default:
        ++totals_.skipped;
        return {};
    }
    ++totals_.entries;
    return stream_.entry(file, 0, limits_);
  }

  FileToPut describe(archive_entry* entry, const std::string& path) const {
    FileToPut file;
    file.path = join(directory_, path);
    file.mode = archive_entry_perm(entry) & 07777u;
    file.uid = options_.keep_owner ? clamp_id(archive_entry_uid(entry)) : options_.uid;
    file.gid = options_.keep_owner ? clamp_id(archive_entry_gid(entry)) : options_.gid;
    // What does not fit into 64 bits of nanoseconds is the last time that does.
    const int64_t seconds = std::clamp<int64_t>(
        archive_entry_mtime(entry), INT64_MIN / kNsPerSecond + 1, INT64_MAX / kNsPerSecond - 1);
    file.mtime_ns = seconds * kNsPerSecond +
                    std::clamp<long>(archive_entry_mtime_nsec(entry), 0, kNsPerSecond - 1);
    return file;
  }

  Result<void> send_hard_link(const std::string& path, const char* target) {
    const auto clean = clean_path(target);
    if (!clean) return base::fail(clean.error());
    if (clean->empty()) return base::fail(ErrorCode::corrupt, "the tar has a link to nowhere");
    FileToPut file;
    file.path = join(directory_, path);
    ++totals_.entries;
    return stream_.entry(file, 0, limits_, join(directory_, *clean));
  }

  Result<void> send_regular(archive_entry* entry, const FileToPut& file) {
    const auto size = static_cast<uint64_t>(std::max<la_int64_t>(archive_entry_size(entry), 0));
    if (auto sent = stream_.entry(file, size, limits_); !sent) return sent;
    ++totals_.entries;
    totals_.bytes += size;
    uint64_t at = 0;
    for (;;) {
      const void* bytes = nullptr;
      size_t count = 0;
      la_int64_t offset = 0;
      const int got = archive_read_data_block(reader_, &bytes, &count, &offset);
      if (got == ARCHIVE_EOF) break;
      if (got < ARCHIVE_WARN) return archive_failure(reader_, kTar);
      const auto begin = static_cast<uint64_t>(offset);
      if (offset < 0 || begin < at || begin > size || count > size - begin) {
        return base::fail(ErrorCode::corrupt, "the tar has data that is not where its file is");
      }
      if (auto sent = send_hole(begin - at); !sent) return sent;
      const wire::ByteView piece(static_cast<const std::byte*>(bytes), count);
      if (auto sent = stream_.data(piece, limits_); !sent) return sent;
      at = begin + count;
    }
    return send_hole(size - at);
  }

  Result<void> send_hole(uint64_t bytes) {
    return bytes == 0 ? Result<void>() : stream_.hole(bytes, limits_);
  }

  PutStream& stream_;
  const DataSource& source_;
  const std::string& directory_;
  const UploadOptions& options_;
  const Limits& limits_;
  const CLocale c_locale_;
  archive* reader_ = nullptr;
  wire::Bytes buffer_ = wire::Bytes(64 * 1024);
  std::optional<Error> source_failed_;
  uint64_t seen_ = 0;
  TransferTotals totals_;
};

}  // namespace

Result<TransferTotals> upload_tar(const std::shared_ptr<AgentLink>& link, const DataSource& tar,
                                  const std::string& directory, const UploadOptions& options,
                                  const Limits& limits, FileChange& change) {
  if (!options.name.empty() || options.follow_link || options.follow_target) {
    return base::fail(ErrorCode::invalid_argument, "a tar says itself what is in it");
  }
  auto stream = PutStream::open(link, limits, &change);
  if (!stream) return base::fail(stream.error());
  if (stream->is_done()) return change.totals;
  auto totals = TarUpload(*stream, tar, directory, options, limits).run();
  if (!totals) return totals;
  change.totals = *totals;
  if (auto done = stream->finish(limits); !done) return base::fail(done.error());
  return totals;
}

}  // namespace microvm::host
