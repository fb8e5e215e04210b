// Takes a tree of files out of the guest, whose every byte may be hostile.
#include <cstring>
#include <utility>

#include "host/session/agent_messages.hpp"
#include "host/session/file_transfer.hpp"
#include "host/session/tree_path.hpp"

namespace microvm::host {
namespace {

using wire::FrameType;

bool is_carried(FileType type) {
  return type == FileType::regular || type == FileType::directory || type == FileType::symlink;
}

// Below a directory such a one is left out; what was asked for by its name can not be.
base::Failure not_carried(const std::string& path) {
  return base::fail(ErrorCode::invalid_argument,
                    "copy files: " + printable(path) + ": not a file, a directory or a link");
}

class TreeReader {
 public:
  TreeReader(Operation& operation, const std::string& path, const DownloadOptions& options,
             TreeSink& sink, const Limits& limits)
      : operation_(operation), path_(path), options_(options), sink_(sink), limits_(limits) {}

  Result<TransferTotals> read_all() {
    for (;;) {
      const auto frame = operation_.receive(limits_.within(kSilenceLimit));
      if (!frame) return base::fail(frame.error());
      if (frame->type == FrameType::ok) break;
      if (frame->type != FrameType::file_entry) return operation_.unexpected(*frame);
      if (auto taken = take_entry(*frame); !taken) return base::fail(taken.error());
    }
    if (seen_ == 0) return base::fail(ErrorCode::protocol, "copy files: the agent sent none");
    return totals_;
  }

 private:
  Result<void> take_entry(const Frame& frame) {
    const auto message = decode_message<microvm_agent_FileEntry>(frame.body);
    if (!message) return base::fail(message.error());
    auto entry = to_tree_entry(*message);
    if (!entry) return base::fail(entry.error());
    if (auto ok = check(*entry); !ok) return ok;
    if (!is_carried(entry->info.type)) {
      if (entry->info.name.empty()) return not_carried(path_);
      ++totals_.skipped;
      return {};
    }
    ++totals_.entries;
    const bool has_data = entry->info.type == FileType::regular && entry->hard_link_to.empty();
    if (has_data && message->sparse) {
      auto extents = take_extents(message->extents, entry->info.size_bytes);
      if (!extents) return base::fail(extents.error());
      entry->extents = std::move(*extents);
    }
    if (auto begun = sink_.begin(*entry); !begun) return begun;
    return has_data ? take_content(*entry) : Result<void>();
  }

  static base::Failure bad_entry(const char* what) {
    return base::fail(ErrorCode::protocol, std::string("copy files: the agent sent ") + what);
  }

  static Result<TreeEntry> to_tree_entry(const microvm_agent_FileEntry& message) {
    auto regular = message;
    const bool is_hard_link = message.type == microvm_agent_FileEntry_Type_HARD_LINK;
    if (is_hard_link) regular.type = microvm_agent_FileEntry_Type_REGULAR;
    auto info = to_file_info(regular);
    if (!info) return base::fail(info.error());
    TreeEntry entry{.info = std::move(*info), .named_again = message.named_again};
    if (!is_hard_link) return entry;
    entry.hard_link_to = std::exchange(entry.info.link_target, {});
    entry.info.size_bytes = 0;
    if (!is_clean_path(entry.hard_link_to)) return bad_entry("a path that is none");
    return entry;
  }

  // The first entry is the top, and only that one has no path.
  Result<void> check(const TreeEntry& entry) {
    const FileInfo& info = entry.info;
    const bool first = seen_++ == 0;
    if (first != info.name.empty() || (!first && !is_clean_path(info.name))) {
      return bad_entry("a path that is none");
    }
    if (seen_ > options_.max_entries) {
      return base::fail(ErrorCode::invalid_argument, "copy files: " + path_ + " has more than " +
                                                         std::to_string(options_.max_entries) +
                                                         " entries: raise max_entries");
    }
    if (info.type == FileType::regular && info.size_bytes > options_.max_bytes - totals_.bytes) {
      return base::fail(ErrorCode::invalid_argument, "copy files: " + path_ + " has more than " +
                                                         std::to_string(options_.max_bytes) +
                                                         " bytes: raise max_bytes");
    }
    if (info.type == FileType::symlink && info.link_target.empty()) {
      return bad_entry("a link to nowhere");
    }
    return {};
  }

  Result<std::vector<FileExtent>> take_extents(uint32_t count, uint64_t size) {
    if (count > wire::kMaxFileExtents) return bad_entry("a file in too many pieces");
    std::vector<FileExtent> extents;
    while (extents.size() < count) {
      const auto frame = operation_.receive(limits_.within(kSilenceLimit));
      if (!frame) return base::fail(frame.error());
      const size_t pieces = frame->body.size() / sizeof(FileExtent);
      if (frame->type != FrameType::file_extents || pieces == 0 ||
          pieces * sizeof(FileExtent) != frame->body.size() || pieces > count - extents.size()) {
        return operation_.unexpected(*frame);
      }
      const size_t before = extents.size();
      extents.resize(before + pieces);
      std::memcpy(&extents[before], frame->body.data(), frame->body.size());
    }
    uint64_t at = 0;
    for (const FileExtent& extent : extents) {
      if (extent.size == 0 || extent.offset < at || extent.offset > size ||
          extent.size > size - extent.offset) {
        return bad_entry("data that is not where its file is");
      }
      at = extent.offset + extent.size;
    }
    return extents;
  }

  Result<void> take_content(const TreeEntry& entry) {
    const uint64_t size = entry.info.size_bytes;
    totals_.bytes += size;
    const std::vector<FileExtent> whole = {{0, size}};
    uint64_t at = 0;
    const auto hole_to = [&](uint64_t end) -> Result<void> {
      const uint64_t bytes = end - std::exchange(at, end);
      return bytes == 0 ? Result<void>() : sink_.hole(bytes);
    };
    for (const FileExtent& extent : entry.extents ? *entry.extents : whole) {
      if (auto skipped = hole_to(extent.offset); !skipped) return skipped;
      if (auto taken = take_data(extent.size); !taken) return taken;
      at += extent.size;
    }
    if (auto skipped = hole_to(size); !skipped) return skipped;
    return sink_.end_file();
  }

  Result<void> take_data(uint64_t size) {
    while (size > 0) {
      const auto frame = operation_.receive(limits_.within(kSilenceLimit));
      if (!frame) return base::fail(frame.error());
      if (frame->type != FrameType::file_data || frame->body.empty() || frame->body.size() > size) {
        return operation_.unexpected(*frame);
      }
      if (auto taken = sink_.data(frame->body); !taken) return taken;
      size -= frame->body.size();
    }
    return {};
  }

  Operation& operation_;
  const std::string& path_;
  const DownloadOptions& options_;
  TreeSink& sink_;
  const Limits& limits_;
  uint64_t seen_ = 0;
  TransferTotals totals_;
};

}  // namespace

Result<TransferTotals> get_tree(const std::shared_ptr<AgentLink>& link, const std::string& path,
                                const DownloadOptions& options, TreeSink& sink,
                                const Limits& limits) {
  microvm_agent_GetFilesRequest request{};
  if (auto ok = set_text(request.path, path, "a path"); !ok) return base::fail(ok.error());
  request.follow = options.follow_link;
  request.holes = true;
  request.hard_links = true;
  auto operation = Operation::open(link, "copy files from the guest", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::get_files, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  return TreeReader(*operation, path, options, sink, limits).read_all();
}

}  // namespace microvm::host
