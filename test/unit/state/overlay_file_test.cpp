// Overlays, and the list of their pages: it says what they replace, whatever the file's holes say.
#include "state/overlay.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include "state/crc32c.hpp"
#include "state/memory_image.hpp"
#include "state/pages.hpp"
#include "unit/coarse_holes.hpp"

using namespace microvm;
using namespace microvm::state::test;
using state::kPageBytes;
using state::PageRuns;

namespace {

using Runs = std::vector<std::pair<uint64_t, uint64_t>>;
constexpr uint64_t kPages = 256;
constexpr uint64_t kBytes = kPages * kPageBytes;

PageRuns runs_of(const Runs& runs) {
  PageRuns made(kPages);
  for (const auto& [first, pages] : runs) REQUIRE(made.append(first, pages));
  return made;
}

Runs list_of(const PageRuns& runs) {
  Runs list;
  for (size_t i = 0; i < runs.size(); ++i) list.emplace_back(runs[i].first_page, runs[i].pages);
  return list;
}

// Those pages hold their number, all others are holes.
base::Fd overlay_file(const Runs& runs, uint64_t bytes = kBytes) {
  auto file = empty_file();
  REQUIRE(state::make_sparse(file.get(), bytes));
  for (const auto& [first, pages] : runs) {
    for (uint64_t page = first; page < first + pages; ++page) {
      const wire::Bytes content(kPageBytes, static_cast<std::byte>(page));
      REQUIRE(sys::pwrite_full(file.get(), content, page * kPageBytes));
    }
  }
  return file;
}

base::Fd listed_file(const Runs& runs) {
  auto file = overlay_file(runs);
  REQUIRE(state::append_page_list(file.get(), kBytes, runs_of(runs)));
  return file;
}

ErrorCode read_error(int fd, uint64_t bytes = kBytes) {
  const auto runs = state::read_page_runs(fd, bytes);
  return runs ? ErrorCode{} : runs.error().code;
}

const Runs kSome = {{3, 1}, {9, 4}, {100, 2}, {255, 1}};

}  // namespace

TEST_CASE("overlay file: the list says what is in it, without one its data does") {
  for (const Runs& runs : {Runs{}, kSome, Runs{{0, kPages}}}) {
    CHECK(list_of(*state::read_page_runs(listed_file(runs).get(), kBytes)) == runs);
    CHECK(list_of(*state::read_page_runs(overlay_file(runs).get(), kBytes)) == runs);
  }
}

TEST_CASE("overlay file: where holes are told of in larger blocks the list stands all the same") {
  const auto with_list = listed_file(kSome);
  const auto without = overlay_file(kSome);
  for (const uint64_t block : {uint64_t{65536}, kBytes}) {
    const test::CoarseHoles coarse(block);
    CHECK(list_of(*state::read_page_runs(with_list.get(), kBytes)) == kSome);
    CHECK(list_of(*state::read_page_runs(without.get(), kBytes)) != kSome);
  }
}

TEST_CASE("overlay file: it is packed and unpacked by its list") {
  const auto overlay = listed_file(kSome);
  const test::CoarseHoles coarse(65536);
  const auto packed = empty_file();
  const auto done = state::pack_pages(
      overlay.get(), packed.get(), {.frame_bytes = state::kMinFrameBytes, .memory_bytes = kBytes});
  REQUIRE(done);
  CHECK(done->pages == 8);
  const auto again = overlay_file({});
  const auto runs = state::unpack_pages(packed.get(), again.get(), kBytes);
  REQUIRE(runs);
  CHECK(list_of(*runs) == kSome);
}

TEST_CASE("overlay file: every cut and every flipped bit of its list is noticed") {
  const auto good = content_of(listed_file(kSome).get());
  const auto file = empty_file();
  for (size_t size = kBytes + 1; size < good.size(); ++size) {
    REQUIRE(::ftruncate(file.get(), 0) == 0);
    REQUIRE(sys::pwrite_full(file.get(), wire::ByteView(good).first(size), 0));
    REQUIRE(read_error(file.get()) == ErrorCode::corrupt);
  }
  for (size_t at = kBytes; at < good.size(); ++at) {
    auto bytes = good;
    bytes[at] ^= static_cast<std::byte>(1 << at % 8);
    REQUIRE(sys::pwrite_full(file.get(), bytes, 0));
    REQUIRE(read_error(file.get()) == ErrorCode::corrupt);
  }
  REQUIRE(sys::pwrite_full(file.get(), good, 0));
  CHECK(read_error(file.get()) == ErrorCode{});
  CHECK(read_error(file.get(), kBytes - kPageBytes) == ErrorCode::corrupt);
  CHECK(read_error(file.get(), 2 * kBytes) == ErrorCode::corrupt);
}

TEST_CASE("overlay file: a list with right sums but wrong numbers is refused") {
  constexpr size_t kHeader = 24;
  const auto good = content_of(listed_file({{3, 1}, {9, 4}}).get());
  const auto error_with = [&](size_t at, auto value) {
    auto bytes = good;
    std::memcpy(&bytes[kBytes + at], &value, sizeof value);
    const auto runs = state::crc32c(wire::ByteView(bytes).subspan(kBytes + kHeader));
    std::memcpy(&bytes[kBytes + 16], &runs, sizeof runs);
    const auto header = state::crc32c(wire::ByteView(bytes).subspan(kBytes, 20));
    std::memcpy(&bytes[kBytes + 20], &header, sizeof header);
    const auto file = empty_file();
    REQUIRE(sys::pwrite_full(file.get(), bytes, 0));
    return read_error(file.get());
  };
  CHECK(error_with(8, 1u) == ErrorCode{});
  CHECK(error_with(8, 2u) == ErrorCode::unsupported);
  for (const uint32_t runs : {0u, 1u, 3u, UINT32_MAX}) {
    CHECK(error_with(12, runs) == ErrorCode::corrupt);
  }
  for (const uint64_t first : {uint64_t{3}, kPages - 3, UINT64_MAX}) {
    CHECK(error_with(kHeader + 12, first) == ErrorCode::corrupt);
  }
  for (const uint32_t pages : {0u, 7u, UINT32_MAX}) {
    CHECK(error_with(kHeader + 8, pages) == ErrorCode::corrupt);
  }
}

TEST_CASE("overlay file: what is in any of several sets") {
  const auto joined = state::join(
      {runs_of({{3, 4}, {20, 1}}), runs_of({}), runs_of({{0, 1}, {5, 6}, {21, 1}, {255, 1}})},
      kPages);
  CHECK(list_of(joined) == Runs{{0, 1}, {3, 8}, {20, 2}, {255, 1}});
  CHECK(joined.page_count() == 12);
  CHECK(list_of(state::join({}, kPages)).empty());
}
