#include "vmm/snapshot/capture.hpp"

#include "state/memory_file.hpp"
#include "sys/file.hpp"
#include "vmm/snapshot/collect.hpp"

namespace microvm::vmm::snapshot {
namespace {

// Each piece is a mapping of its own in every clone, which costs more than the copy of a page or
// two (capture_bench.cpp measures both). A guest whose writes are far apart has many pieces all the
// same: filling between them would save the whole memory.
constexpr GapFilling kFilling{
    .narrow = 2 * kPageSize, .enough = 256, .most = GuestMemory::kMaxOverlayRanges};

class OverlayWriter {
 public:
  OverlayWriter(const GuestMemory& memory, int fd) : memory_(memory), fd_(fd) {}

  // Pages of zeros are written as well: in a hole, what is below would show.
  Result<uint64_t> write(const PageRanges& ranges) {
    for (const PageRange& range : ranges) {
      if (auto ok = write(range); !ok) return base::fail(ok.error());
    }
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

PageRanges choose(const GuestMemory& memory, Pages pages) {
  PageRanges ranges = memory.written_ranges();
  if (pages == Pages::and_overlays) ranges = join(std::move(ranges), memory.overlay_ranges());
  return fill_gaps(std::move(ranges), kFilling);
}

}  // namespace

Result<uint64_t> capture(Machine& machine, const CaptureFiles& files, Pages pages) {
  const GuestMemory& memory = machine.memory();
  if (auto ok = check_state_file(files.state); !ok) return base::fail(ok.error());
  if (auto ok = state::make_sparse(files.pages, memory.size()); !ok) return base::fail(ok.error());
  if (auto ok = machine.quiesce(); !ok) return base::fail(ok.error());
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  const auto page_bytes = OverlayWriter(memory, files.pages).write(choose(memory, pages));
  if (!page_bytes) return page_bytes;
  if (auto ok = sys::pwrite_full(files.state, *bytes, 0); !ok) return base::fail(ok.error());
  return page_bytes;
}

}  // namespace microvm::vmm::snapshot
