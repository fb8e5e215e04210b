#include "vmm/memory/page_scan.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace microvm::vmm {
namespace {

// <linux/fs.h> of kernel 6.7 and later; Debian 12 builds against 6.1.
struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};
struct ScanArguments {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
static_assert(sizeof(ScanArguments) == 96);
constexpr unsigned long kPageMapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kPageIsFile = 1 << 2;
constexpr uint64_t kPageIsPresent = 1 << 3;
constexpr uint64_t kPageIsSwapped = 1 << 4;

// Present or swapped, and not a page of the file: a private copy.
ScanArguments private_copies(uint64_t start, uint64_t end, std::span<PageRegion> regions) {
  return {.size = sizeof(ScanArguments),
          .flags = 0,
          .start = start,
          .end = end,
          .walk_end = 0,
          .vec = reinterpret_cast<uint64_t>(regions.data()),
          .vec_len = regions.size(),
          .max_pages = 0,
          .category_inverted = kPageIsFile,
          .category_mask = kPageIsFile,
          .category_anyof_mask = kPageIsPresent | kPageIsSwapped,
          .return_mask = kPageIsFile};  // none of them is: neighbours come as one region
}

// A page map entry (Documentation/admin-guide/mm/pagemap.rst). Bit 61: of a file, or shared memory.
bool is_private_copy(uint64_t entry) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kOfFile = uint64_t{1} << 61;
  return (entry & (kPresent | kSwapped)) != 0 && (entry & kOfFile) == 0;
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
  const auto begin = reinterpret_cast<uint64_t>(memory.data());
  const uint64_t end = begin + memory.size();
  std::optional<PageRanges> ranges;
  if (way_ == Way::scan_or_entries) ranges = scan(begin, end);
  if (!ranges) ranges = read_entries(begin, end);
  if (!ranges) return {{0, memory.size()}};
  return std::move(*ranges);
}

std::optional<PageRanges> PageScan::scan(uint64_t begin, uint64_t end) const {
  std::array<PageRegion, 256> regions{};
  PageRanges ranges;
  for (uint64_t at = begin; at < end;) {
    ScanArguments arguments = private_copies(at, end, regions);
    const int count = ::ioctl(page_map_.get(), kPageMapScan, &arguments);
    if (count < 0 || arguments.walk_end <= at) return std::nullopt;
    for (const PageRegion& region : std::span(regions).first(static_cast<size_t>(count))) {
      append(ranges, {region.start - begin, region.end - region.start});
    }
    at = arguments.walk_end;
  }
  return ranges;
}

std::optional<PageRanges> PageScan::read_entries(uint64_t begin, uint64_t end) const {
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
      if (is_private_copy(entry)) append(ranges, {at - begin, kPageBytes});
      at += kPageBytes;
    }
  }
  return ranges;
}

}  // namespace microvm::vmm
