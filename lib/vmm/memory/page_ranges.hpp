// Lists of page ranges: which parts of the guest's memory are meant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace microvm::vmm {

// Offset and length are multiples of the page size.
struct PageRange {
  uint64_t offset = 0;  // in the memory, as it stands in a memory snapshot file
  uint64_t length = 0;

  [[nodiscard]] uint64_t end() const { return offset + length; }
  bool operator==(const PageRange&) const = default;
};
using PageRanges = std::vector<PageRange>;

// What is in either list, in order; ranges that touch or overlap become one.
[[nodiscard]] PageRanges join(PageRanges a, const PageRanges& b);

// What is in `a` and not in `b`; both are as join() leaves them.
[[nodiscard]] PageRanges subtract(const PageRanges& a, const PageRanges& b);

// Which gaps between ranges are filled, the smallest first.
struct GapFilling {
  uint64_t narrow = 0;         // bytes: gaps up to this wide, always
  uint64_t wide = UINT64_MAX;  // bytes: gaps wider than this only for `most`
  size_t enough = 1;  // ranges: above it, as long as what is filled is no more than what was there
  size_t most = 1;    // ranges, at least one: above it, whatever they hold
};

// Ranges that cover all of these, which are as join() leaves them.
[[nodiscard]] PageRanges fill_gaps(PageRanges ranges, const GapFilling& filling);

[[nodiscard]] uint64_t total_bytes(const PageRanges& ranges);

}  // namespace microvm::vmm
