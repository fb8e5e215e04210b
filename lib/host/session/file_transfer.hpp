// Trees of files: entries with their data, one after another, on one stream.
#pragma once

#include <functional>
#include <optional>

#include "host/session/guest_files.hpp"
#include "wire/file_extent.hpp"

namespace microvm::host {

using wire::FileExtent;

// Files into the guest. Each entry's path is absolute there.
class PutStream {
 public:
  // `change` is what this is an attempt at; none: it may be done twice when it is begun twice.
  static Result<PutStream> open(const std::shared_ptr<AgentLink>& link, const Limits& limits,
                                FileChange* change = nullptr);

  // An attempt before has put all of it: there is nothing to send.
  [[nodiscard]] bool is_done() const { return is_done_; }
  // Whether hard links may be sent of what is no tar; an older agent may not know them.
  [[nodiscard]] bool keeps_names() const { return !is_old_; }

  // Of a regular file, `size` bytes have to follow; `hard_link_to` makes it a second name of that
  // file of the guest.
  Result<void> entry(const FileToPut& file, uint64_t size, const Limits& limits,
                     const std::string& hard_link_to = {});
  Result<void> data(wire::ByteView bytes, const Limits& limits);
  // So many bytes that are zero; an older agent is sent them.
  Result<void> hole(uint64_t bytes, const Limits& limits);
  // The content of file.source, opened without following a link, or of file.inline_content, after
  // its entry; returns its size.
  Result<uint64_t> file(const FileToPut& file, const Limits& limits);
  Result<void> finish(const Limits& limits);

 private:
  PutStream(Operation operation, bool is_old, bool is_done)
      : operation_(std::move(operation)), is_old_(is_old), is_done_(is_done) {}
  Result<uint64_t> source(const FileToPut& file, const Limits& limits);
  Result<void> content(const FileToPut& file, int fd, uint64_t size, const Limits& limits);
  Result<void> range(const FileToPut& file, int fd, FileExtent range, const Limits& limits);

  Operation operation_;
  bool is_old_;
  bool is_done_;
};

struct TreeEntry {
  FileInfo info;             // info.name is the path
  bool named_again = false;  // hard links to it may follow
  std::string hard_link_to;  // not empty: a further name of the regular file at that path
  // Of a regular file with holes: where it has data.
  std::optional<std::vector<FileExtent>> extents;
};

// Takes a tree that comes out of a guest. Paths, those of hard links' files too, are relative and
// clean: no "..", no empty part; empty is the top itself. Extents are ascending and within the
// size. Everything else about an entry is what the guest says.
class TreeSink {
 public:
  virtual ~TreeSink() = default;
  virtual Result<void> begin(const TreeEntry& entry) = 0;
  // Of the last regular file; all of its pieces and holes have size_bytes together.
  virtual Result<void> data(wire::ByteView bytes) = 0;
  virtual Result<void> hole(uint64_t bytes) = 0;
  // After the last piece of a regular file, also of an empty one.
  virtual Result<void> end_file() = 0;
};

// Errors: invalid_argument when a bound of the options is exceeded, or the path is of what is not
// carried; protocol when the agent does not keep to the above.
Result<TransferTotals> get_tree(const std::shared_ptr<AgentLink>& link, const std::string& path,
                                const DownloadOptions& options, TreeSink& sink,
                                const Limits& limits);

}  // namespace microvm::host
