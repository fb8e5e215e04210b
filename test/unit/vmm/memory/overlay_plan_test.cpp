#include "vmm/memory/overlay_plan.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kPage = 4096;

// `count` pieces of `length` pages each, with `gap` between them.
PageRanges pieces(uint64_t count, uint64_t length, uint64_t gap) {
  PageRanges ranges;
  for (uint64_t i = 0; i < count; ++i) {
    ranges.push_back({i * (length + gap) * kPage, length * kPage});
  }
  return ranges;
}

bool always(const PageRange&) {
  return true;
}
bool never(const PageRange&) {
  return false;
}

}  // namespace

TEST_CASE("overlay plan: a few pieces are mapped as they are, and nothing is asked") {
  bool asked = false;
  const PageRanges few = pieces(64, 1, 1);
  const auto plan = plan_overlay(few, 4096, [&](const PageRange&) { return asked = true; });
  CHECK(plan.mapped == few);
  CHECK(plan.copied.empty());
  CHECK_FALSE(asked);
}

TEST_CASE("overlay plan: narrow gaps of zeros are mapped over, wide ones are not") {
  CHECK(plan_overlay(pieces(1000, 1, 16), 4096, always).mapped.size() == 1);
  CHECK(plan_overlay(pieces(1000, 2, 17), 4096, always).mapped.size() == 1000);
  const PageRanges ranges = pieces(100, 1, 3);
  const auto plan = plan_overlay(ranges, 4096, [&](const PageRange& gap) {
    CHECK(gap.length == 3 * kPage);
    return gap.offset != ranges[49].end();
  });
  CHECK(plan.mapped == PageRanges{{0, ranges[49].end()},
                                  {ranges[50].offset, ranges[99].end() - ranges[50].offset}});
}

TEST_CASE("overlay plan: many single pages are copied, up to a number; longer pieces are not") {
  const auto many = plan_overlay(pieces(500, 1, 1), 4096, never);
  CHECK(many.mapped.size() == 64);
  CHECK(many.copied.size() == 500 - 64);
  CHECK(total_bytes(many.mapped) + total_bytes(many.copied) == 500 * kPage);
  CHECK(plan_overlay(pieces(3000, 1, 1), 4096, never).copied.size() == 1024);
  CHECK(plan_overlay(pieces(500, 2, 1), 4096, never).copied.empty());
}

TEST_CASE("overlay plan: no more are mapped than may be, the longest first") {
  PageRanges ranges = pieces(500, 3, 1);
  ranges[123].length = 4 * kPage;
  ranges.erase(ranges.begin() + 124);
  const auto plan = plan_overlay(ranges, 1, never);
  CHECK(plan.mapped == PageRanges{ranges[123]});
  CHECK(total_bytes(plan.copied) == 498 * 3 * kPage);
}

TEST_CASE("overlay plan: holes of a file are found, also behind its data") {
  const base::Fd file(::memfd_create("holes", MFD_CLOEXEC));
  REQUIRE(::ftruncate(file.get(), 100 * kPage) == 0);
  for (const int page : {3, 4, 50}) REQUIRE(::pwrite(file.get(), "x", 1, page * kPage) == 1);
  HoleFinder finder(file.get());
  CHECK(finder.is_hole({0, 3 * kPage}));
  CHECK(finder.is_hole({kPage, kPage}));
  CHECK_FALSE(finder.is_hole({2 * kPage, 2 * kPage}));
  CHECK_FALSE(finder.is_hole({4 * kPage, kPage}));
  CHECK(finder.is_hole({5 * kPage, 45 * kPage}));
  CHECK_FALSE(finder.is_hole({40 * kPage, 11 * kPage}));
  CHECK(finder.is_hole({51 * kPage, 49 * kPage}));
  HoleFinder none(-1);
  CHECK_FALSE(none.is_hole({0, kPage}));
}
