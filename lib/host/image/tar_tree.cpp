#include "host/image/tar_tree.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "host/base/printable.hpp"
#include "host/image/archive_reader.hpp"
#include "host/image/import_mistakes.hpp"
#include "host/store/files.hpp"

namespace microvm::host {

using base::fail;

namespace {

// What one file's attributes may take: ext4 keeps them in one block.
constexpr size_t kMaxXattrBytes = 4096;
constexpr size_t kMaxTargetBytes = 4095;
// Names, symlinks and attributes kept in memory, of all entries together.
constexpr uint64_t kMaxMetadataBytes = 512ull << 20;
constexpr uint64_t kProgressBytes = 4u << 20;

uint32_t clamp_id(la_int64_t id) {
  return static_cast<uint32_t>(std::clamp<la_int64_t>(id, 0, UINT32_MAX));
}

Result<NodeKind> kind_of(archive_entry* entry, const std::string& path) {
  switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
      return NodeKind::directory;
    case AE_IFREG:
      return NodeKind::file;
    case AE_IFLNK:
      return NodeKind::symlink;
    case AE_IFCHR:
      return NodeKind::character_device;
    case AE_IFBLK:
      return NodeKind::block_device;
    case AE_IFIFO:
      return NodeKind::fifo;
    case AE_IFSOCK:
      return NodeKind::socket;
    default:
      return fail(ErrorCode::corrupt, "entry \"" + printable(path) + "\": of an unknown type");
  }
}

// The namespaces a Linux guest acts on. ACLs come in a form of their own and are left out.
bool keeps_xattr(std::string_view name) {
  return name.starts_with("security.") || name.starts_with("user.") || name.starts_with("trusted.");
}

Result<void> read_xattrs(archive_entry* entry, const std::string& path, Node& node) {
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  size_t total = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr || !keeps_xattr(name)) continue;
    const std::string_view text(name);
    if (text.size() > 255 || size > kMaxXattrBytes - total)
      return fail(ErrorCode::invalid_argument,
                  "entry \"" + printable(path) + "\": its extended attributes are too large");
    total += size;
    node.xattrs.emplace_back(text, std::string(static_cast<const char*>(value), size));
  }
  std::ranges::sort(node.xattrs);
  return {};
}

Result<Node> read_node(archive_entry* entry, const std::string& path) {
  const auto kind = kind_of(entry, path);
  if (!kind) return fail(kind.error());
  Node node;
  node.kind = *kind;
  node.permissions = static_cast<uint16_t>(archive_entry_perm(entry) & 07777);
  node.uid = clamp_id(archive_entry_uid(entry));
  node.gid = clamp_id(archive_entry_gid(entry));
  node.mtime_s = archive_entry_mtime(entry);
  node.mtime_ns =
      static_cast<uint32_t>(std::clamp<long>(archive_entry_mtime_nsec(entry), 0, 999'999'999));
  node.device_major = static_cast<uint32_t>(archive_entry_rdevmajor(entry)) & 0xfff;
  node.device_minor = static_cast<uint32_t>(archive_entry_rdevminor(entry)) & 0xfffff;
  if (*kind == NodeKind::symlink) {
    const char* target = archive_entry_symlink(entry);
    node.target = target != nullptr ? target : "";
    if (node.target.empty() || node.target.size() > kMaxTargetBytes)
      return fail(ErrorCode::corrupt, "entry \"" + printable(path) + "\": a bad symlink target");
  }
  if (auto read = read_xattrs(entry, path, node); !read) return fail(read.error());
  return node;
}

class TarReader {
 public:
  TarReader(const base::Fd& fd, archive* reader, FileTree& tree, Ext4Writer& disk,
            const std::string& name, const CallCheck& check)
      : fd_(fd), reader_(reader), tree_(tree), disk_(disk), name_(name), check_(check) {}

  void report_to(const ProgressSink& sink, Progress progress) {
    sink_ = sink;
    progress_ = std::move(progress);
  }

  Result<void> read_all() {
    archive_entry* entry = nullptr;
    size_t entries = 0;
    for (;; ++entries) {
      const auto more = next_entry(reader_, entry, name_);
      if (!more) return fail(more.error());
      if (!*more) break;
      auto added = add(entry);
      if (!added) return fail(added.error().code, name_ + ": " + added.error().message);
    }
    if (entries == 0) return not_a_tar(fd_, name_);
    return check_not_wrapped(tree_, name_);
  }

 private:
  Result<void> add(archive_entry* entry) {
    if (auto go_on = report(); !go_on) return go_on;
    const auto path = entry_path(entry);
    if (const char* target = archive_entry_hardlink(entry))
      return account(path.size()) ? tree_.add_hard_link(path, target) : too_much();
    auto node = read_node(entry, path);
    if (!node) return fail(node.error());
    if (!account(path.size() + node->target.size() + xattr_bytes(*node))) return too_much();
    const bool is_file = node->kind == NodeKind::file;
    const auto id = tree_.add(path, std::move(*node));
    if (!id) return fail(id.error());
    return is_file ? read_content(entry, path, tree_.node(*id)) : Result<void>();
  }

  Result<void> read_content(archive_entry* entry, const std::string& path, Node& node) {
    auto stream = disk_.new_file();
    const void* bytes = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    for (;;) {
      const int result = archive_read_data_block(reader_, &bytes, &size, &offset);
      if (result == ARCHIVE_EOF) break;
      if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        return archive_failure(reader_, "entry \"" + printable(path) + "\"");
      if (auto go_on = report(); !go_on) return go_on;
      const ByteSpan piece(static_cast<const std::byte*>(bytes), size);
      if (auto written = stream.write(piece, static_cast<uint64_t>(offset)); !written)
        return written;
    }
    node.size_bytes = static_cast<uint64_t>(std::max<la_int64_t>(archive_entry_size(entry), 0));
    constexpr uint64_t kMaxFileBytes = 16ull << 40;
    if (node.size_bytes >= kMaxFileBytes)
      return fail(ErrorCode::invalid_argument,
                  "entry \"" + printable(path) + "\": larger than ext4 allows");
    auto blocks = stream.finish();
    if (!blocks) return fail(blocks.error());
    node.blocks = std::move(*blocks);
    return {};
  }

  static size_t xattr_bytes(const Node& node) {
    size_t total = 0;
    for (const auto& [name, value] : node.xattrs) total += name.size() + value.size();
    return total;
  }

  bool account(size_t bytes) { return (metadata_bytes_ += bytes) <= kMaxMetadataBytes; }

  static Result<void> too_much() {
    return fail(ErrorCode::invalid_argument, "more than 512 MiB of names and attributes");
  }

  // Between the pieces: may we go on, and how far are we.
  Result<void> report() {
    if (auto go_on = check_(); !go_on) return go_on;
    if (!sink_) return {};
    const off_t at = ::lseek(fd_.get(), 0, SEEK_CUR);
    const uint64_t done = at > 0 ? static_cast<uint64_t>(at) : 0;
    if (done < progress_.done + kProgressBytes && done != progress_.total) return {};
    if (done == progress_.done) return {};
    progress_.done = done;
    const CLocale::Lifted lifted(c_locale_);
    sink_(progress_);
    return {};
  }

  const base::Fd& fd_;
  archive* reader_;
  FileTree& tree_;
  Ext4Writer& disk_;
  const std::string& name_;
  const CallCheck& check_;
  const CLocale c_locale_;
  ProgressSink sink_;
  Progress progress_;
  uint64_t metadata_bytes_ = 0;
};

}  // namespace

Result<void> read_tar(const std::filesystem::path& tar, FileTree& tree, Ext4Writer& disk,
                      const std::string& step, const ProgressSink& progress,
                      const CallCheck& check) {
  const std::string name = tar.string();
  if (std::error_code error; std::filesystem::is_directory(tar, error))
    return fail(ErrorCode::invalid_argument,
                name + ": a directory: pack it with tar -C " + name + " -cf FILE .");
  const auto fd = open_regular_file(tar);
  if (!fd) return fail(fd.error());
  struct stat info{};
  if (::fstat(fd->get(), &info) != 0) return base::fail_errno("stat " + name);
  const auto reader = open_tar(*fd, name);
  if (!reader && reader.error().code == ErrorCode::corrupt) return not_a_tar(*fd, name);
  if (!reader) return fail(reader.error());
  TarReader content(*fd, reader->get(), tree, disk, name, check);
  content.report_to(progress, {step, 0, static_cast<uint64_t>(info.st_size), {}});
  auto read = content.read_all();
  if (!read && read.error().code != ErrorCode::corrupt &&
      read.error().code != ErrorCode::invalid_argument)
    return read;
  // Also of one that is cut off, or larger than the disk: that would not help.
  if (auto no_images = check_no_images(tree, name); !no_images) return no_images;
  return read;
}

}  // namespace microvm::host
