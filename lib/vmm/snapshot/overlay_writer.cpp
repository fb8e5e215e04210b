#include "vmm/snapshot/overlay_writer.hpp"

#include <sys/stat.h>

#include "state/overlay.hpp"
#include "sys/file.hpp"

namespace microvm::vmm::snapshot {

Result<void> OverlayWriter::make_room(const PageRanges& ranges) {
  for (const PageRange& range : ranges) {
    if (auto ok = sys::allocate(fd_, range.offset, range.length); !ok) return ok;
  }
  return {};
}

Result<void> OverlayWriter::write(const PageRange& range) {
  // The file has the regions one after another, as they stand in this process.
  const std::byte* first = memory_.regions().front().host;
  return sys::pwrite_full(fd_, {first + range.offset, range.length}, range.offset);
}

Result<void> OverlayWriter::append_list(const PageRanges& ranges) {
  state::PageRuns runs(memory_.size() / kPageSize);
  for (const PageRange& range : ranges) {
    if (!runs.append(range.offset / kPageSize, range.length / kPageSize)) {
      return base::fail(ErrorCode::io, "take the written pages: they are not in order");
    }
  }
  return state::append_page_list(fd_, memory_.size(), runs);
}

Result<uint64_t> OverlayWriter::write_without_list(const PageRanges& ranges) {
  for (const PageRange& range : ranges) {
    if (auto ok = write(range); !ok) return base::fail(ok.error());
  }
  if (has_only(total_bytes(ranges))) return total_bytes(ranges);
  const auto extra = find_extra_data(ranges);
  if (!extra) return base::fail(extra.error());
  for (const PageRange& range : *extra) {
    if (auto ok = write(range); !ok) return base::fail(ok.error());
  }
  return total_bytes(ranges) + total_bytes(*extra);
}

// Whether the file's data can be no more than these bytes, which spares a look at each piece.
bool OverlayWriter::has_only(uint64_t bytes) const {
  constexpr uint64_t kStatBlock = 512;
  struct stat file{};
  return ::fstat(fd_, &file) == 0 && static_cast<uint64_t>(file.st_blksize) <= kPageSize &&
         static_cast<uint64_t>(file.st_blocks) * kStatBlock == bytes;
}

// A file system whose blocks are larger than a page (or a memfd of huge pages) fills them with
// zeros around what was written. To a reader these are data, so they get what the memory has.
Result<PageRanges> OverlayWriter::find_extra_data(const PageRanges& ranges) const {
  PageRanges extra;
  auto next = ranges.begin();
  const auto done =
      sys::for_each_data_range(fd_, [&](uint64_t offset, uint64_t length) -> Result<void> {
        uint64_t at = offset & ~(kPageSize - 1);
        const uint64_t end = (offset + length + kPageSize - 1) & ~(kPageSize - 1);
        while (next != ranges.end() && next->end() <= at) ++next;
        for (auto range = next; range != ranges.end() && range->offset < end; ++range) {
          if (range->offset > at) extra.push_back({at, range->offset - at});
          at = range->end();
        }
        if (at < end) extra.push_back({at, end - at});
        return {};
      });
  if (!done) return base::fail(done.error());
  return extra;
}

}  // namespace microvm::vmm::snapshot
