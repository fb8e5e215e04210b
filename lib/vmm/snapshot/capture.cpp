#include "vmm/snapshot/capture.hpp"

#include <sys/stat.h>

#include "state/memory_file.hpp"
#include "state/overlay.hpp"
#include "sys/file.hpp"
#include "vmm/snapshot/collect.hpp"

namespace microvm::vmm::snapshot {
namespace {

// Each piece is a mapping of its own in every clone, which costs more than the copy of a page or
// two (capture_bench.cpp measures both), and of some more where there are many. A guest whose
// writes are far apart has many pieces all the same: filling between them would save the whole
// memory.
constexpr GapFilling kFilling{.narrow = 2 * kPageSize,
                              .wide = 8 * kPageSize,
                              .enough = 256,
                              .most = GuestMemory::kMaxOverlayRanges};

class OverlayWriter {
 public:
  OverlayWriter(const GuestMemory& memory, int fd) : memory_(memory), fd_(fd) {}

  // All of these have to be written. That takes half the time when the file has the page already.
  Result<void> make_room(const PageRanges& ranges) {
    for (const PageRange& range : ranges) {
      if (auto ok = sys::allocate(fd_, range.offset, range.length); !ok) return ok;
    }
    return {};
  }

  // Pages of zeros are written as well: they replace what is below.
  Result<uint64_t> write_with_list(const PageRanges& ranges) {
    state::PageRuns runs(memory_.size() / kPageSize);
    for (const PageRange& range : ranges) {
      if (auto ok = write(range); !ok) return base::fail(ok.error());
      if (!runs.append(range.offset / kPageSize, range.length / kPageSize)) {
        return base::fail(ErrorCode::io, "take the written pages: they are not in order");
      }
    }
    if (auto ok = state::append_page_list(fd_, memory_.size(), runs); !ok) {
      return base::fail(ok.error());
    }
    return total_bytes(ranges);
  }

  // For one who takes the file's data for what replaces.
  Result<uint64_t> write_without_list(const PageRanges& ranges) {
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

 private:
  Result<void> write(const PageRange& range) {
    // The file has the regions one after another, as they stand in this process.
    const std::byte* first = memory_.regions().front().host;
    return sys::pwrite_full(fd_, {first + range.offset, range.length}, range.offset);
  }

  // Whether the file's data can be no more than these bytes, which spares a look at each piece.
  [[nodiscard]] bool has_only(uint64_t bytes) const {
    constexpr uint64_t kStatBlock = 512;
    struct stat file{};
    return ::fstat(fd_, &file) == 0 && static_cast<uint64_t>(file.st_blksize) <= kPageSize &&
           static_cast<uint64_t>(file.st_blocks) * kStatBlock == bytes;
  }

  // A file system whose blocks are larger than a page (or a memfd of huge pages) fills them with
  // zeros around what was written. To a reader these are data, so they get what the memory has.
  Result<PageRanges> find_extra_data(const PageRanges& ranges) const {
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

  const GuestMemory& memory_;
  const int fd_;
};

// `also`: what was chosen before, while the guest ran.
PageRanges choose(const GuestMemory& memory, Pages pages, const PageRanges& also = {}) {
  PageRanges ranges = join(memory.written_ranges(), also);
  if (pages == Pages::and_overlays) ranges = join(std::move(ranges), memory.overlay_ranges());
  return fill_gaps(std::move(ranges), kFilling);
}

}  // namespace

Result<Captured> capture(Machine& machine, const CaptureFiles& files,
                         const CaptureOptions& options) {
  const GuestMemory& memory = machine.memory();
  if (auto ok = check_state_file(files.state); !ok) return base::fail(ok.error());
  if (auto ok = state::make_sparse(files.pages, memory.size()); !ok) return base::fail(ok.error());
  OverlayWriter overlay(memory, files.pages);
  PageRanges before;
  if (options.short_pause) before = choose(memory, options.pages);
  if (auto ok = overlay.make_room(before); !ok) return base::fail(ok.error());

  Captured captured{.stopped = std::chrono::steady_clock::now()};
  if (auto ok = machine.quiesce(); !ok) return base::fail(ok.error());
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  const PageRanges ranges = choose(memory, options.pages, before);
  const auto page_bytes =
      options.list_pages ? overlay.write_with_list(ranges) : overlay.write_without_list(ranges);
  if (!page_bytes) return base::fail(page_bytes.error());
  captured.page_bytes = *page_bytes;
  if (auto ok = sys::pwrite_full(files.state, *bytes, 0); !ok) return base::fail(ok.error());
  return captured;
}

}  // namespace microvm::vmm::snapshot
