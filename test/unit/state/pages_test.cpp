#include "state/pages.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "state/crc32c.hpp"
#include "state/memory_image.hpp"
#include "sys/file.hpp"
#include "unit/file_calls.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::state::test;
using state::kPageBytes;

namespace {

using Pages = std::map<uint64_t, wire::Bytes>;

wire::Bytes page_of(uint32_t seed) {
  wire::Bytes page(kPageBytes);
  if (seed % 3 == 0) return page;
  std::mt19937 random(seed);
  for (std::byte& byte : page) {
    byte = seed % 3 == 1 ? static_cast<std::byte>(random()) : static_cast<std::byte>(seed);
  }
  return page;
}

// Every page of some at random; a third of the pages is zeros, and is data.
Pages random_pages(uint64_t memory_pages, unsigned percent, uint32_t seed) {
  std::mt19937 random(seed);
  Pages pages;
  for (uint64_t page = 0; page < memory_pages; ++page) {
    if (random() % 100 < percent) pages[page] = page_of(static_cast<uint32_t>(random()));
  }
  return pages;
}

base::Fd overlay_of(const Pages& pages, uint64_t memory_pages) {
  auto overlay = empty_file();
  REQUIRE(state::make_sparse(overlay.get(), memory_pages * kPageBytes));
  for (const auto& [page, bytes] : pages) {
    REQUIRE(sys::pwrite_full(overlay.get(), bytes, page * kPageBytes));
  }
  return overlay;
}

Pages pages_of(int overlay_fd) {
  Pages pages;
  REQUIRE(
      sys::for_each_data_range(overlay_fd, [&](uint64_t offset, uint64_t length) -> Result<void> {
        for (uint64_t end = offset + length; offset < end; offset += kPageBytes) {
          wire::Bytes& page = pages[offset / kPageBytes];
          page.resize(kPageBytes);
          if (auto got = sys::pread_full(overlay_fd, page, offset); !got) return got;
        }
        return {};
      }));
  return pages;
}

base::Fd packed_file(int overlay_fd, unsigned threads = 1) {
  auto packed = empty_file();
  const auto done = state::pack_pages(overlay_fd, packed.get(),
                                      {.frame_bytes = state::kMinFrameBytes, .threads = threads});
  REQUIRE(done);
  CHECK(done->pages == pages_of(overlay_fd).size());
  CHECK(done->stored_bytes == *sys::file_size(packed.get()));
  return packed;
}

void check_round_trip(const Pages& pages, uint64_t memory_pages) {
  const auto overlay = overlay_of(pages, memory_pages);
  for (const unsigned threads : {1u, 4u}) {
    const auto packed = packed_file(overlay.get(), threads);
    const auto again = overlay_of({}, memory_pages);
    const auto count =
        state::unpack_pages(packed.get(), again.get(), memory_pages * kPageBytes, threads);
    REQUIRE(count);
    CHECK(count->page_count() == pages.size());
    CHECK(pages_of(again.get()) == pages);
  }
}

constexpr uint64_t kSmallPages = 40;

wire::Bytes small_packed() {
  const Pages pages{{3, page_of(1)}, {4, page_of(3)}, {5, page_of(2)}, {39, page_of(5)}};
  return content_of(packed_file(overlay_of(pages, kSmallPages).get()).get());
}

// What comes of unpacking; no error is the code 0.
ErrorCode unpack_error(const wire::Bytes& packed, uint64_t memory_pages = kSmallPages) {
  const auto file = empty_file();
  REQUIRE(sys::pwrite_full(file.get(), packed, 0));
  const auto overlay = overlay_of({}, memory_pages);
  const auto done = state::unpack_pages(file.get(), overlay.get(), memory_pages * kPageBytes);
  return done ? ErrorCode{} : done.error().code;
}

// The fields of the header (pages.hpp), and the small file's index: two runs and one frame.
constexpr size_t kVersionAt = 8, kFrameBytesAt = 12, kPageCountAt = 24, kIndexOffsetAt = 32,
                 kRunCountAt = 40, kIndexChecksumAt = 44, kHeaderChecksumAt = 48;
constexpr size_t kSmallIndexBytes = 2 * 12 + 16;

template <class T>
void put(wire::Bytes& bytes, size_t at, T value) {
  std::memcpy(&bytes[at], &value, sizeof value);
}

// The error of a small file changed by `change`, its checksums put right.
ErrorCode crafted_error(const std::function<void(wire::Bytes& bytes, size_t index_at)>& change) {
  auto bytes = small_packed();
  const size_t index_at = bytes.size() - kSmallIndexBytes;
  change(bytes, index_at);
  put(bytes, kIndexChecksumAt, state::crc32c(wire::ByteView(bytes).subspan(index_at)));
  put(bytes, kHeaderChecksumAt, state::crc32c(wire::ByteView(bytes).first(kHeaderChecksumAt)));
  return unpack_error(bytes);
}

}  // namespace

TEST_CASE("pages: an overlay comes back with its data, its zeros and its holes") {
  for (const unsigned percent : {1u, 30u, 90u}) {
    CAPTURE(percent);
    check_round_trip(random_pages(700, percent, percent), 700);
  }
}

TEST_CASE("pages: nothing changed, everything changed, only zeros") {
  check_round_trip({}, 300);
  check_round_trip({}, 0);
  check_round_trip(random_pages(100, 100, 3), 100);
  check_round_trip({{0, page_of(0)}, {1, page_of(0)}, {99, page_of(0)}}, 100);
}

TEST_CASE("pages: of a chain the newest counts, whether that comes first or last") {
  Pages expected = random_pages(500, 40, 1);
  const Pages newer = random_pages(500, 40, 2);
  const base::Fd packed[] = {packed_file(overlay_of(expected, 500).get()),
                             packed_file(overlay_of(newer, 500).get())};
  for (const auto& [page, bytes] : newer) expected[page] = bytes;
  const auto upwards = overlay_of({}, 500);
  for (const base::Fd& file : packed) {
    REQUIRE(state::unpack_pages(file.get(), upwards.get(), 500 * kPageBytes));
  }
  CHECK(pages_of(upwards.get()) == expected);
  for (const unsigned threads : {1u, 3u}) {
    const auto downwards = overlay_of({}, 500);
    const auto done =
        state::unpack_pages(packed[1].get(), downwards.get(), 500 * kPageBytes, threads);
    REQUIRE(done);
    const auto below =
        state::unpack_pages(packed[0].get(), downwards.get(), 500 * kPageBytes, threads, *done);
    REQUIRE(below);
    CHECK(pages_of(downwards.get()) == expected);
    CHECK(state::join({*done, *below}, 500).page_count() == expected.size());
  }
}

TEST_CASE("pages: a frame of covered pages is not looked at") {
  auto bytes = small_packed();
  bytes[60] ^= std::byte{1};  // in the frame
  CHECK(unpack_error(bytes) == ErrorCode::corrupt);
  const auto file = empty_file();
  REQUIRE(sys::pwrite_full(file.get(), bytes, 0));
  state::PageRuns covered(kSmallPages);
  REQUIRE(covered.append(2, 4));
  REQUIRE(covered.append(39, 1));
  const auto overlay = overlay_of({}, kSmallPages);
  const auto done =
      state::unpack_pages(file.get(), overlay.get(), kSmallPages * kPageBytes, 1, covered);
  REQUIRE(done);
  CHECK(done->page_count() == 4);
  CHECK(pages_of(overlay.get()).empty());
}

TEST_CASE("pages: what is missing of a run is told in order") {
  using Missing = std::vector<std::pair<uint64_t, uint32_t>>;
  state::PageRuns set(100);
  for (const auto& [first, pages] : Missing{{2, 3}, {10, 1}, {20, 30}}) {
    REQUIRE(set.append(first, pages));
  }
  const auto missing = [&](uint64_t first, uint32_t pages) {
    Missing found;
    REQUIRE(set.for_each_missing({first, pages}, [&](state::PageRun piece) -> Result<void> {
      found.emplace_back(piece.first_page, piece.pages);
      return {};
    }));
    return found;
  };
  CHECK(missing(0, 100) == Missing{{0, 2}, {5, 5}, {11, 9}, {50, 50}});
  CHECK(missing(3, 2).empty());
  CHECK(missing(3, 3) == Missing{{5, 1}});
  CHECK(missing(1, 1) == Missing{{1, 1}});
  CHECK(missing(50, 1) == Missing{{50, 1}});
  CHECK(missing(49, 2) == Missing{{50, 1}});
  set = state::PageRuns(100);
  CHECK(missing(7, 9) == Missing{{7, 9}});
}

TEST_CASE("pages: every cut and every flipped bit is noticed") {
  const auto good = small_packed();
  REQUIRE(unpack_error(good) == ErrorCode{});
  for (size_t size = 0; size < good.size(); ++size) {
    REQUIRE(unpack_error({good.begin(), good.begin() + static_cast<long>(size)}) ==
            ErrorCode::corrupt);
  }
  for (size_t at = 0; at < good.size(); ++at) {
    auto bytes = good;
    bytes[at] ^= static_cast<std::byte>(1 << at % 8);
    REQUIRE(unpack_error(bytes) == ErrorCode::corrupt);
  }
  auto longer = good;
  longer.push_back(std::byte{0});
  CHECK(unpack_error(longer) == ErrorCode::corrupt);
}

TEST_CASE("pages: a header with right checksums but wrong numbers is refused") {
  const auto with_field = [](size_t at, auto value) {
    return crafted_error([&](wire::Bytes& bytes, size_t) { put(bytes, at, value); });
  };
  CHECK(with_field(kVersionAt, 1u) == ErrorCode{});  // the version it has: crafting works
  CHECK(with_field(kVersionAt, 2u) == ErrorCode::unsupported);
  CHECK(with_field(kFrameBytesAt, 4096u) == ErrorCode::corrupt);
  CHECK(with_field(kFrameBytesAt, 1u << 31) == ErrorCode::corrupt);
  for (const uint64_t pages :
       {uint64_t{0}, uint64_t{3}, uint64_t{5}, kSmallPages + 1, UINT64_MAX}) {
    CHECK(with_field(kPageCountAt, pages) == ErrorCode::corrupt);
  }
  for (const uint32_t runs : {0u, 1u, 3u, 4u, UINT32_MAX}) {
    CHECK(with_field(kRunCountAt, runs) == ErrorCode::corrupt);
  }
  for (const uint64_t offset : {uint64_t{0}, uint64_t{52}, UINT64_MAX}) {
    CHECK(with_field(kIndexOffsetAt, offset) == ErrorCode::corrupt);
  }
  CHECK(unpack_error(small_packed(), kSmallPages - 1) == ErrorCode::corrupt);
  CHECK(unpack_error(small_packed(), kSmallPages + 1) == ErrorCode::corrupt);
}

TEST_CASE("pages: runs that are not sorted, disjoint and inside the memory are refused") {
  const auto with_runs = [](uint64_t first, uint32_t pages, uint64_t second, uint32_t more) {
    return crafted_error([&](wire::Bytes& bytes, size_t at) {
      put(bytes, at, first);
      put(bytes, at + 8, pages);
      put(bytes, at + 12, second);
      put(bytes, at + 20, more);
    });
  };
  CHECK(with_runs(3, 3, 39, 1) == ErrorCode{});
  CHECK(with_runs(3, 3, 5, 1) == ErrorCode::corrupt);
  CHECK(with_runs(30, 3, 3, 1) == ErrorCode::corrupt);
  CHECK(with_runs(3, 3, 40, 1) == ErrorCode::corrupt);
  CHECK(with_runs(3, 3, 39, 2) == ErrorCode::corrupt);
  CHECK(with_runs(3, 4, 39, 1) == ErrorCode::corrupt);
  CHECK(with_runs(3, 0, 36, 4) == ErrorCode::corrupt);
  CHECK(with_runs(UINT64_MAX, 3, 39, 1) == ErrorCode::corrupt);
  CHECK(with_runs(3, 3, UINT64_MAX - 1, 1) == ErrorCode::corrupt);
  CHECK(with_runs(3, UINT32_MAX, 39, 1) == ErrorCode::corrupt);
}

TEST_CASE("pages: a frame with wrong places is refused") {
  const auto with_frame = [](uint64_t offset, uint32_t stored) {
    return crafted_error([&](wire::Bytes& bytes, size_t at) {
      put(bytes, at + 24, offset);
      put(bytes, at + 32, stored);
    });
  };
  for (const uint64_t offset : {uint64_t{0}, uint64_t{51}, uint64_t{1} << 40, UINT64_MAX - 8}) {
    CHECK(with_frame(offset, 100) == ErrorCode::corrupt);
  }
  for (const uint32_t stored : {0u, 7u, 1u << 20, UINT32_MAX}) {
    CHECK(with_frame(52, stored) == ErrorCode::corrupt);
  }
}

TEST_CASE("pages: a frame that unpacks to another size is refused") {
  // The frame of two pages in place of the one of four, with its checksum.
  const Pages two{{1, page_of(2)}, {2, page_of(2)}};
  const auto other = content_of(packed_file(overlay_of(two, kSmallPages).get()).get());
  const size_t frame_bytes = other.size() - 52 - 12 - 16;
  const wire::ByteView frame = wire::ByteView(other).subspan(52, frame_bytes);
  CHECK(crafted_error([&](wire::Bytes& bytes, size_t at) {
          std::ranges::copy(frame, bytes.begin() + 52);
          put(bytes, at + 32, static_cast<uint32_t>(frame_bytes));
          put(bytes, at + 36, state::crc32c(frame));
        }) == ErrorCode::corrupt);
}

TEST_CASE("pages: packing stops when told, before it begins and between frames") {
  const auto overlay = overlay_of(random_pages(4000, 100, 9), 4000);
  std::atomic<bool> stop{true};
  auto packed = empty_file();
  // So slow a level that the whole would take seconds.
  const state::PackPagesOptions options{
      .frame_bytes = state::kMinFrameBytes, .zstd_level = 19, .threads = 2, .stop = &stop};
  auto done = state::pack_pages(overlay.get(), packed.get(), options);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::cancelled);
  CHECK(*sys::file_size(packed.get()) == 0);

  stop = false;
  const test::TempDir dir;
  const base::Fd file(::open((dir / "packed").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  test::FileCalls calls(dir.path());
  std::atomic<int> writes{0};
  calls.before_each([&](const test::FileCall&) {
    if (++writes == 2) stop = true;
  });
  done = state::pack_pages(overlay.get(), file.get(), options);
  REQUIRE_FALSE(done);
  CHECK(done.error().code == ErrorCode::cancelled);
  CHECK(writes < 10);  // of two hundred frames
}

TEST_CASE("pages: a file that takes no writes is an error") {
  const auto overlay = overlay_of(random_pages(64, 100, 4), 64);
  const auto packed = packed_file(overlay.get());
  const auto sealed = overlay_of({}, 64);
  REQUIRE(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_WRITE) == 0);
  for (const unsigned threads : {1u, 4u}) {
    const auto out = state::unpack_pages(packed.get(), sealed.get(), 64 * kPageBytes, threads);
    REQUIRE_FALSE(out);
    CHECK(out.error().code == ErrorCode::permission_denied);
  }
  const auto full = empty_file();
  REQUIRE(::fcntl(full.get(), F_ADD_SEALS, F_SEAL_GROW) == 0);
  CHECK_FALSE(state::pack_pages(overlay.get(), full.get()));
}

TEST_CASE("pages: options and files out of bounds are refused") {
  const auto overlay = overlay_of(random_pages(8, 50, 5), 8);
  const auto out = empty_file();
  const auto pack_error = [&](int from, int to, uint32_t frame_bytes) {
    const auto done = state::pack_pages(from, to, {.frame_bytes = frame_bytes});
    return done ? ErrorCode{} : done.error().code;
  };
  for (const uint32_t bytes : {0u, 4096u, 100'000u, 4u << 20}) {
    CHECK(pack_error(overlay.get(), out.get(), bytes) == ErrorCode::invalid_argument);
  }
  const auto odd = empty_file();
  REQUIRE(::ftruncate(odd.get(), 6000) == 0);
  const base::Fd device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  CHECK(pack_error(odd.get(), out.get(), 1 << 16) == ErrorCode::invalid_argument);
  CHECK(pack_error(device.get(), out.get(), 1 << 16) == ErrorCode::invalid_argument);
  CHECK(pack_error(overlay.get(), device.get(), 1 << 16) == ErrorCode::invalid_argument);
  CHECK(pack_error(overlay.get(), overlay.get(), 1 << 16) == ErrorCode::invalid_argument);

  const auto packed = packed_file(overlay.get());
  const auto wrong_size = state::unpack_pages(packed.get(), out.get(), 8 * kPageBytes);
  REQUIRE_FALSE(wrong_size);
  CHECK(wrong_size.error().code == ErrorCode::invalid_argument);
  CHECK_FALSE(state::unpack_pages(device.get(), overlay.get(), 8 * kPageBytes));
}
