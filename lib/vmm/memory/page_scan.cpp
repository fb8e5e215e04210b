#include "vmm/memory/page_scan.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "sys/page_map_scan.hpp"

namespace microvm::vmm {

using sys::kPageIsFile;
using sys::kPageIsPresent;
using sys::kPageIsSwapped;
using sys::PageMapScan;
using sys::PageRegion;

namespace {

// The categories a page must have (or not have: inverted), and some of which it must have.
struct Wanted {
  uint64_t inverted;
  uint64_t mask;
  uint64_t any_of;
};
// Present or swapped, and not a page of the file.
constexpr Wanted kPrivateCopy{kPageIsFile, kPageIsFile, kPageIsPresent | kPageIsSwapped};
constexpr Wanted kFilePage{0, kPageIsFile | kPageIsPresent, 0};

PageMapScan arguments_for(const Wanted& wanted, uint64_t start, uint64_t end,
                          std::span<PageRegion> regions) {
  return {.size = sizeof(PageMapScan),
          .flags = 0,
          .start = start,
          .end = end,
          .walk_end = 0,
          .vec = reinterpret_cast<uint64_t>(regions.data()),
          .vec_len = regions.size(),
          .max_pages = 0,
          .category_inverted = wanted.inverted,
          .category_mask = wanted.mask,
          .category_anyof_mask = wanted.any_of,
          .return_mask = kPageIsFile};  // the same for all of them: neighbours come as one region
}

// A page map entry (Documentation/admin-guide/mm/pagemap.rst). Bit 61: of a file, or shared memory.
constexpr uint64_t kEntryPresent = uint64_t{1} << 63;
constexpr uint64_t kEntrySwapped = uint64_t{1} << 62;
constexpr uint64_t kEntryOfFile = uint64_t{1} << 61;

bool is_private_copy(uint64_t entry) {
  return (entry & (kEntryPresent | kEntrySwapped)) != 0 && (entry & kEntryOfFile) == 0;
}
bool is_file_page(uint64_t entry) {
  return (entry & kEntryPresent) != 0 && (entry & kEntryOfFile) != 0;
}

void append(PageRanges& ranges, PageRange range) {
  if (!ranges.empty() && ranges.back().end() == range.offset) {
    ranges.back().length += range.length;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

PageScan PageScan::open(Way way) {
  PageScan scan;
  scan.page_map_.reset(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  scan.way_ = way;
  return scan;
}

PageRanges PageScan::written(std::span<const std::byte> memory) const {
  auto ranges = find(memory, Kind::private_copy);
  return ranges ? std::move(*ranges) : PageRanges{{0, memory.size()}};
}

std::optional<PageScan::Touched> PageScan::touched(std::span<const std::byte> memory) const {
  auto written = find(memory, Kind::private_copy);
  auto read = find(memory, Kind::file_page);
  if (!written || !read) return std::nullopt;
  return Touched{std::move(*written), std::move(*read)};
}

std::optional<PageRanges> PageScan::find(std::span<const std::byte> memory, Kind kind) const {
  const auto begin = reinterpret_cast<uint64_t>(memory.data());
  const uint64_t end = begin + memory.size();
  std::optional<PageRanges> ranges;
  if (way_ == Way::scan_or_entries) ranges = scan(begin, end, kind);
  return ranges ? std::move(ranges) : read_entries(begin, end, kind);
}

std::optional<PageRanges> PageScan::scan(uint64_t begin, uint64_t end, Kind kind) const {
  const Wanted& wanted = kind == Kind::private_copy ? kPrivateCopy : kFilePage;
  std::array<PageRegion, 256> regions{};
  PageRanges ranges;
  for (uint64_t at = begin; at < end;) {
    PageMapScan arguments = arguments_for(wanted, at, end, regions);
    const int count = ::ioctl(page_map_.get(), sys::kPageMapScan, &arguments);
    if (count < 0 || arguments.walk_end <= at) return std::nullopt;
    for (const PageRegion& region : std::span(regions).first(static_cast<size_t>(count))) {
      append(ranges, {region.start - begin, region.end - region.start});
    }
    at = arguments.walk_end;
  }
  return ranges;
}

std::optional<PageRanges> PageScan::read_entries(uint64_t begin, uint64_t end, Kind kind) const {
  const auto is_wanted = kind == Kind::private_copy ? is_private_copy : is_file_page;
  constexpr uint64_t kPageBytes = 4096;
  std::array<uint64_t, 2048> entries;
  PageRanges ranges;
  for (uint64_t at = begin; at < end;) {
    const size_t wanted = std::min<uint64_t>(entries.size(), (end - at) / kPageBytes);
    const size_t bytes = wanted * sizeof(uint64_t);
    const auto offset = static_cast<off_t>(at / kPageBytes * sizeof(uint64_t));
    if (::pread(page_map_.get(), entries.data(), bytes, offset) != static_cast<ssize_t>(bytes)) {
      return std::nullopt;
    }
    for (const uint64_t entry : std::span(entries).first(wanted)) {
      if (is_wanted(entry)) append(ranges, {at - begin, kPageBytes});
      at += kPageBytes;
    }
  }
  return ranges;
}

}  // namespace microvm::vmm
