#include "vmm/memory/page_scan.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <array>

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

}  // namespace

PageScan PageScan::open() {
  PageScan scan;
  scan.page_map_.reset(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  return scan;
}

std::vector<PageScan::Range> PageScan::written(std::span<const std::byte> memory) const {
  std::array<PageRegion, 256> regions{};
  std::vector<Range> ranges;
  const auto begin = reinterpret_cast<uint64_t>(memory.data());
  const uint64_t end = begin + memory.size();
  for (uint64_t at = begin; at < end;) {
    ScanArguments arguments = private_copies(at, end, regions);
    const int count = ::ioctl(page_map_.get(), kPageMapScan, &arguments);
    if (count < 0 || arguments.walk_end <= at) return {{0, memory.size()}};
    for (const PageRegion& region : std::span(regions).first(static_cast<size_t>(count))) {
      ranges.push_back({region.start - begin, region.end - region.start});
    }
    at = arguments.walk_end;
  }
  return ranges;
}

}  // namespace microvm::vmm
