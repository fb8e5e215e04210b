#include "vmm/memory/page_ranges.hpp"

#include <algorithm>

namespace microvm::vmm {
namespace {

// Joins neighbours, in order of their offsets, that are at most `gap` bytes apart. At most `fills`
// of the gaps that are exactly that wide are filled.
PageRanges join_across(const PageRanges& ranges, uint64_t gap, size_t fills) {
  PageRanges joined;
  for (const PageRange& range : ranges) {
    const bool apart = joined.empty() || range.offset > joined.back().end() + gap;
    const bool at_limit = !apart && range.offset == joined.back().end() + gap && gap > 0;
    if (apart || (at_limit && fills == 0)) {
      joined.push_back(range);
      continue;
    }
    if (at_limit) --fills;
    PageRange& last = joined.back();
    last.length = std::max(last.end(), range.end()) - last.offset;
  }
  return joined;
}

}  // namespace

PageRanges join(PageRanges a, const PageRanges& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a, {}, &PageRange::offset);
  return join_across(a, 0, 0);
}

PageRanges fill_gaps(PageRanges ranges, size_t most) {
  if (ranges.size() <= most) return ranges;
  std::vector<uint64_t> gaps;
  for (size_t i = 1; i < ranges.size(); ++i) {
    gaps.push_back(ranges[i].offset - ranges[i - 1].end());
  }
  const size_t surplus = ranges.size() - most;
  const auto widest = gaps.begin() + static_cast<std::ptrdiff_t>(surplus - 1);
  std::ranges::nth_element(gaps, widest);
  // Of the gaps as wide as the widest to be filled, only as many as need be.
  const auto narrower =
      std::count_if(gaps.begin(), widest, [&](uint64_t gap) { return gap < *widest; });
  return join_across(ranges, *widest, surplus - static_cast<size_t>(narrower));
}

uint64_t total_bytes(const PageRanges& ranges) {
  uint64_t sum = 0;
  for (const PageRange& range : ranges) sum += range.length;
  return sum;
}

}  // namespace microvm::vmm
