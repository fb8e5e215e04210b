#include "vmm/memory/page_ranges.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace microvm::vmm;

namespace {

constexpr uint64_t kPage = 4096;

PageRange pages(uint64_t first, uint64_t count) {
  return {first * kPage, count * kPage};
}

}  // namespace

TEST_CASE("page ranges: join sorts, and makes one of what touches or overlaps") {
  CHECK(join({}, {}).empty());
  const PageRanges joined =
      join({pages(1, 2), pages(9, 1)}, {pages(0, 1), pages(2, 4), pages(10, 1), pages(20, 1)});
  CHECK(joined == PageRanges{pages(0, 6), pages(9, 2), pages(20, 1)});
  CHECK(join({pages(0, 10)}, {pages(2, 1)}) == PageRanges{pages(0, 10)});
  CHECK(total_bytes(joined) == 9 * kPage);
}

TEST_CASE("page ranges: what is subtracted is left out, whatever it covers") {
  const PageRanges all = {pages(0, 4), pages(6, 2), pages(10, 5)};
  CHECK(subtract(all, {}) == all);
  CHECK(subtract({}, all).empty());
  CHECK(subtract(all, all).empty());
  CHECK(subtract(all, {pages(0, 1), pages(3, 4), pages(11, 1), pages(13, 1)}) ==
        PageRanges{pages(1, 2), pages(7, 1), pages(10, 1), pages(12, 1), pages(14, 1)});
  CHECK(subtract(all, {pages(4, 2), pages(20, 3)}) == all);
}

TEST_CASE("page ranges: above the limit the smallest gaps are filled, and no more of them") {
  const PageRanges ranges = {pages(0, 1), pages(2, 1), pages(10, 1), pages(12, 1), pages(30, 1)};
  const auto fill = [&](size_t most) { return fill_gaps(ranges, {.enough = 5, .most = most}); };
  CHECK(fill(5) == ranges);
  CHECK(fill(4) == PageRanges{pages(0, 3), pages(10, 1), pages(12, 1), pages(30, 1)});
  CHECK(fill(3) == PageRanges{pages(0, 3), pages(10, 3), pages(30, 1)});
  CHECK(fill(2) == PageRanges{pages(0, 13), pages(30, 1)});
  CHECK(fill(1) == PageRanges{pages(0, 31)});
}

TEST_CASE("page ranges: narrow gaps are filled however few the ranges are") {
  const PageRanges ranges = {pages(0, 1), pages(3, 1), pages(7, 1)};
  CHECK(fill_gaps(ranges, {.narrow = 2 * kPage, .enough = 9, .most = 9}) ==
        PageRanges{pages(0, 4), pages(7, 1)});
  CHECK(fill_gaps({}, {.narrow = kPage, .enough = 9, .most = 9}).empty());
}

TEST_CASE("page ranges: wide gaps are filled up to as many bytes as the ranges have") {
  // Four pages, with gaps of 3, 2 and 1.
  const PageRanges ranges = {pages(0, 1), pages(4, 1), pages(7, 1), pages(9, 1)};
  CHECK(fill_gaps(ranges, {.enough = 1, .most = 9}) == PageRanges{pages(0, 1), pages(4, 6)});
  CHECK(fill_gaps(ranges, {.enough = 3, .most = 9}) ==
        PageRanges{pages(0, 1), pages(4, 1), pages(7, 3)});
  CHECK(fill_gaps(ranges, {.wide = kPage, .enough = 1, .most = 9}) ==
        PageRanges{pages(0, 1), pages(4, 1), pages(7, 3)});
  CHECK(fill_gaps(ranges, {.enough = 1, .most = 1}) == PageRanges{pages(0, 10)});
  CHECK(fill_gaps(ranges, {.wide = kPage, .enough = 1, .most = 1}) == PageRanges{pages(0, 10)});
}

TEST_CASE("page ranges: filled gaps lose no page, whatever the ranges") {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    PageRanges ranges;
    for (uint64_t page = random() % 4; ranges.size() < 300;) {
      const uint64_t count = 1 + random() % 3;
      ranges.push_back(pages(page, count));
      page += count + 1 + random() % 5;
    }
    const size_t most = 1 + random() % 300;
    const PageRanges filled =
        fill_gaps(ranges, {.narrow = random() % 3 * kPage, .enough = 300, .most = most});
    CHECK(filled.size() <= most);
    CHECK(join(filled, ranges) == filled);
  }
}
