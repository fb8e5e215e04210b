// Trees of files: entries with their data, one after another, on one stream.
#pragma once

#include <functional>

#include "host/session/guest_files.hpp"

namespace microvm::host {

// Files into the guest. Each entry's path is absolute there.
class PutStream {
 public:
  static Result<PutStream> open(const std::shared_ptr<AgentLink>& link, const Limits& limits);

  // Of a regular file, `size` bytes have to follow; `hard_link_to` makes it a second name of that
  // file of the guest.
  Result<void> entry(const FileToPut& file, uint64_t size, const Limits& limits,
                     const std::string& hard_link_to = {});
  Result<void> data(wire::ByteView bytes, const Limits& limits);
  // The content of file.source, opened without following a link, or of file.inline_content, after
  // its entry; returns its size.
  Result<uint64_t> file(const FileToPut& file, const Limits& limits);
  Result<void> finish(const Limits& limits);

 private:
  explicit PutStream(Operation operation) : operation_(std::move(operation)) {}
  Result<void> content(const FileToPut& file, int fd, uint64_t size, const Limits& limits);

  Operation operation_;
};

// Takes a tree that comes out of a guest. Paths are relative and clean: no "..", no empty part;
// empty is the top itself. Everything else about an entry is what the guest says.
class TreeSink {
 public:
  virtual ~TreeSink() = default;
  virtual Result<void> begin(const FileInfo& info) = 0;  // info.name is the path
  // Of the last regular file; all of its pieces have size_bytes together.
  virtual Result<void> data(wire::ByteView bytes) = 0;
  // After the last piece of a regular file, also of an empty one.
  virtual Result<void> end_file() = 0;
};

// Errors: invalid_argument when a bound of the options is exceeded, protocol when the agent does
// not keep to the above.
Result<TransferTotals> get_tree(const std::shared_ptr<AgentLink>& link, const std::string& path,
                                const DownloadOptions& options, TreeSink& sink,
                                const Limits& limits);

}  // namespace microvm::host
