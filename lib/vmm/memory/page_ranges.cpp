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

size_t count_to_fill(const std::vector<uint64_t>& sorted_gaps, uint64_t bytes,
                     const GapFilling& filling) {
  size_t fills = 0;
  uint64_t filled = 0;
  for (const uint64_t gap : sorted_gaps) {
    const size_t ranges = sorted_gaps.size() + 1 - fills;
    filled += gap;
    const bool pays = gap <= filling.wide && ranges > filling.enough && filled <= bytes;
    const bool worth_it = gap <= filling.narrow || pays;
    if (!worth_it && ranges <= filling.most) break;
    ++fills;
  }
  return fills;
}

}  // namespace

PageRanges join(PageRanges a, const PageRanges& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::ranges::sort(a, {}, &PageRange::offset);
  return join_across(a, 0, 0);
}

PageRanges subtract(const PageRanges& a, const PageRanges& b) {
  PageRanges left;
  auto next = b.begin();
  for (const PageRange& range : a) {
    uint64_t at = range.offset;
    while (next != b.end() && next->end() <= at) ++next;
    for (auto hole = next; hole != b.end() && hole->offset < range.end(); ++hole) {
      if (hole->offset > at) left.push_back({at, hole->offset - at});
      at = hole->end();
    }
    if (at < range.end()) left.push_back({at, range.end() - at});
  }
  return left;
}

PageRanges fill_gaps(PageRanges ranges, const GapFilling& filling) {
  std::vector<uint64_t> gaps;
  for (size_t i = 1; i < ranges.size(); ++i) {
    gaps.push_back(ranges[i].offset - ranges[i - 1].end());
  }
  std::ranges::sort(gaps);
  const size_t fills = count_to_fill(gaps, total_bytes(ranges), filling);
  if (fills == 0) return ranges;
  const uint64_t widest = gaps[fills - 1];
  // Of the gaps as wide as the widest to be filled, only as many as need be.
  const auto narrower = std::ranges::lower_bound(gaps, widest) - gaps.begin();
  return join_across(ranges, widest, fills - static_cast<size_t>(narrower));
}

uint64_t total_bytes(const PageRanges& ranges) {
  uint64_t sum = 0;
  for (const PageRange& range : ranges) sum += range.length;
  return sum;
}

}  // namespace microvm::vmm
