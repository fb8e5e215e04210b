// Takes a tree of files out of the guest, whose every byte may be hostile.
#include "host/session/agent_messages.hpp"
#include "host/session/file_transfer.hpp"
#include "host/session/tree_path.hpp"

namespace microvm::host {
namespace {

using wire::FrameType;

bool is_carried(FileType type) {
  return type == FileType::regular || type == FileType::directory || type == FileType::symlink;
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
    const auto entry = decode_message<microvm_agent_FileEntry>(frame.body);
    if (!entry) return base::fail(entry.error());
    const auto info = to_file_info(*entry);
    if (!info) return base::fail(info.error());
    if (auto ok = check(*info); !ok) return ok;
    if (!is_carried(info->type)) {
      ++totals_.skipped;
      return {};
    }
    ++totals_.entries;
    if (auto begun = sink_.begin(*info); !begun) return begun;
    return info->type == FileType::regular ? take_data(info->size_bytes) : Result<void>();
  }

  // The first entry is the top, and only that one has no path.
  Result<void> check(const FileInfo& info) {
    const bool first = seen_++ == 0;
    if (first != info.name.empty() || (!first && !is_clean_path(info.name))) {
      return base::fail(ErrorCode::protocol, "copy files: the agent sent a path that is none");
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
      return base::fail(ErrorCode::protocol, "copy files: the agent sent a link to nowhere");
    }
    return {};
  }

  Result<void> take_data(uint64_t size) {
    totals_.bytes += size;
    while (size > 0) {
      const auto frame = operation_.receive(limits_.within(kSilenceLimit));
      if (!frame) return base::fail(frame.error());
      if (frame->type != FrameType::file_data || frame->body.empty() || frame->body.size() > size) {
        return operation_.unexpected(*frame);
      }
      if (auto taken = sink_.data(frame->body); !taken) return taken;
      size -= frame->body.size();
    }
    return sink_.end_file();
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
  auto operation = Operation::open(link, "copy files from the guest", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::get_files, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  return TreeReader(*operation, path, options, sink, limits).read_all();
}

}  // namespace microvm::host
