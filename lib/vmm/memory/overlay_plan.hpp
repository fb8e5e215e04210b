// How the pages of an overlay (state/overlay.hpp) come to stand in a guest's memory. Mapped, a page
// costs nothing before it is touched and all clones share it, but each mapping has its price; a
// copy costs by the page.
#pragma once

#include <cstdint>
#include <functional>

#include "vmm/memory/page_ranges.hpp"

namespace microvm::vmm {

struct OverlayPlan {
  PageRanges mapped;  // what lies between pages of the overlay may be in them, where that is zeros
  PageRanges copied;
};

// Whether a range reads as zeros, above and below. Asked in order of the offsets.
using IsZero = std::function<bool(const PageRange&)>;

// `ranges` are as join() leaves them. No more than `most` are mapped.
[[nodiscard]] OverlayPlan plan_overlay(const PageRanges& ranges, size_t most,
                                       const IsZero& is_zero);

// Says which parts of a file are holes. Asked in order of the offsets it looks at each part once.
class HoleFinder {
 public:
  explicit HoleFinder(int fd) : fd_(fd) {}
  [[nodiscard]] bool is_hole(const PageRange& range);

 private:
  int fd_;
  PageRange hole_;  // the last one seen
};

}  // namespace microvm::vmm
