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

// At most `most` ranges (at least one) that cover all of these, which are as join() leaves them:
// the smallest gaps are filled.
[[nodiscard]] PageRanges fill_gaps(PageRanges ranges, size_t most);

[[nodiscard]] uint64_t total_bytes(const PageRanges& ranges);

}  // namespace microvm::vmm
