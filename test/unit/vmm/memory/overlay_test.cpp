// Memory from several files on top of each other, and what counts as written on it.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "state/overlay.hpp"
#include "vmm/memory/guest_memory.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kBytes = 4 << 20;

PageRange page(uint64_t number, uint64_t count = 1) {
  return {number * kPageSize, count * kPageSize};
}

// A sparse file in memory; each of these pages begins with its value.
base::Fd file_of(const std::map<uint64_t, uint64_t>& pages, uint64_t size = kBytes) {
  base::Fd file(::memfd_create("memory", MFD_CLOEXEC));
  REQUIRE(::ftruncate(file.get(), static_cast<off_t>(size)) == 0);
  for (const auto& [number, value] : pages) {
    REQUIRE(::pwrite(file.get(), &value, sizeof value, static_cast<off_t>(number * kPageSize)) ==
            sizeof value);
  }
  return file;
}

GuestMemory memory_from(const base::Fd& file) {
  auto memory = GuestMemory::reserve(kBytes);
  REQUIRE(memory);
  REQUIRE(memory->back_with_file(file.get()));
  return std::move(*memory);
}

uint64_t value_at(const GuestMemory& memory, uint64_t number) {
  uint64_t value = 0;
  REQUIRE(memory.read(number * kPageSize, value));
  return value;
}

void touch(GuestMemory& memory, uint64_t number) {
  REQUIRE(memory.write(number * kPageSize, number));
}

ErrorCode code_of(const Result<void>& result) {
  return result ? ErrorCode{} : result.error().code;
}

}  // namespace

TEST_CASE("overlay: its data replaces what is below, zeros too, and its holes do not") {
  const auto base = file_of({{1, 11}, {2, 12}, {3, 13}, {4, 14}});
  const auto first = file_of({{2, 22}, {3, 0}, {9, 29}});
  const auto second = file_of({{4, 34}, {9, 39}});
  GuestMemory memory = memory_from(base);
  REQUIRE(memory.add_overlay(first.get()));
  REQUIRE(memory.add_overlay(second.get()));
  CHECK(value_at(memory, 1) == 11);
  CHECK(value_at(memory, 2) == 22);
  CHECK(value_at(memory, 3) == 0);
  CHECK(value_at(memory, 4) == 34);
  CHECK(value_at(memory, 9) == 39);
  CHECK(value_at(memory, 10) == 0);
  CHECK(memory.overlay_ranges() == PageRanges{page(2, 3), page(9)});
}

TEST_CASE("overlay: only what is written over it counts as written, and its file stays as it is") {
  const auto base = file_of({{1, 11}, {5, 15}});
  const auto overlay = file_of({{2, 22}, {3, 23}, {700, 1}});
  GuestMemory memory = memory_from(base);
  REQUIRE(memory.add_overlay(overlay.get()));
  for (const uint64_t number : {1u, 2u, 3u, 4u, 700u}) static_cast<void>(value_at(memory, number));
  CHECK(memory.written_ranges().empty());
  touch(memory, 3);
  touch(memory, 4);
  touch(memory, 800);
  CHECK(memory.written_ranges() == PageRanges{page(3, 2), page(800)});
  const auto data = memory.data_ranges();
  REQUIRE(data);
  CHECK(*data == PageRanges{page(1, 5), page(700), page(800)});
  uint64_t in_file = 0;
  REQUIRE(::pread(overlay.get(), &in_file, sizeof in_file, 3 * kPageSize) == sizeof in_file);
  CHECK(in_file == 23);
}

TEST_CASE("overlay: the scan and the page map's entries give the same ranges") {
  const auto base = file_of({{1, 11}, {5, 15}, {600, 1}});
  const auto overlay = file_of({{2, 22}, {3, 23}, {700, 1}, {701, 1}});
  GuestMemory memory = memory_from(base);
  REQUIRE(memory.add_overlay(overlay.get()));
  for (const uint64_t number : {1u, 2u, 600u, 700u, 900u})
    static_cast<void>(value_at(memory, number));
  for (const uint64_t number : {3u, 4u, 5u, 701u, 1023u}) touch(memory, number);
  const std::span<const std::byte> all(memory.regions().front().host, kBytes);
  const PageRanges expected = {page(3, 3), page(701), page(1023)};
  CHECK(PageScan::open(PageScan::Way::scan_or_entries).written(all) == expected);
  CHECK(PageScan::open(PageScan::Way::entries).written(all) == expected);
  const auto middle = all.subspan(4 * kPageSize, 698 * kPageSize);
  CHECK(PageScan::open(PageScan::Way::entries).written(middle) ==
        PageRanges{page(0, 2), page(697)});
}

TEST_CASE("overlay: of fresh memory both ways agree as well, over more pages than one read takes") {
  constexpr uint64_t kMany = 32 << 20;
  auto memory = GuestMemory::reserve(kMany);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  const std::span<const std::byte> all(memory->regions().front().host, kMany);
  ::madvise(memory->regions().front().host, kMany, MADV_NOHUGEPAGE);
  for (uint64_t number = 0; number < kMany / kPageSize; number += 7) touch(*memory, number);
  const PageRanges scanned = PageScan::open().written(all);
  CHECK(scanned.size() == (kMany / kPageSize + 6) / 7);
  CHECK(PageScan::open(PageScan::Way::entries).written(all) == scanned);
}

TEST_CASE("overlay: a file of another length or kind is corrupt") {
  const auto base = file_of({{1, 11}});
  GuestMemory memory = memory_from(base);
  CHECK(code_of(memory.add_overlay(file_of({}, kBytes - 4096).get())) == ErrorCode::corrupt);
  CHECK(code_of(memory.add_overlay(file_of({}, kBytes + 4096).get())) == ErrorCode::corrupt);
  int ends[2] = {-1, -1};
  REQUIRE(::pipe(ends) == 0);
  const base::Fd read_end(ends[0]);
  const base::Fd write_end(ends[1]);
  CHECK(code_of(memory.add_overlay(read_end.get())) == ErrorCode::corrupt);
}

// Every second page of a large memory, over a file that has data in the first, the last or all of
// the pages between.
struct Scattered {
  static constexpr uint64_t kLarge = 64 << 20;
  static constexpr uint64_t kPieces = 6000;
  enum class Below : uint8_t { little, all };

  explicit Scattered(Below below) {
    for (uint64_t number = 0; number < 2 * kPieces; number += 2) above[number] = number + 1;
    above[2 * kPieces + 1] = above[2 * kPieces + 2] = 7;  // the one piece of two pages
    const uint64_t step = below == Below::all ? 2 : 2 * kPieces - 2;
    for (uint64_t number = 1; number < 2 * kPieces; number += step) base[number] = number + 500;
    auto reserved = GuestMemory::reserve(kLarge);
    REQUIRE(reserved);
    memory = std::move(*reserved);
    base_file = file_of(base, kLarge);
    overlay = file_of(above, kLarge);
    REQUIRE(memory->back_with_file(base_file.get()));
    REQUIRE(memory->add_overlay(overlay.get()));
  }
  void check_content() const {
    for (uint64_t number = 0; number < 2 * kPieces + 3; ++number) {
      const auto page = above.find(number);
      const auto below = base.find(number);
      const uint64_t expected =
          page != above.end() ? page->second : (below != base.end() ? below->second : 0);
      REQUIRE(value_at(*memory, number) == expected);
    }
  }
  // Mappings of this process that are of the overlay's file.
  [[nodiscard]] size_t mappings() const {
    struct stat info{};
    REQUIRE(::fstat(overlay.get(), &info) == 0);
    const std::string inode = " " + std::to_string(info.st_ino) + " ";
    std::ifstream maps("/proc/self/maps");
    size_t count = 0;
    for (std::string line; std::getline(maps, line);) {
      if (line.find(inode) != std::string::npos) ++count;
    }
    return count;
  }

  std::map<uint64_t, uint64_t> above, base;
  base::Fd base_file, overlay;
  std::optional<GuestMemory> memory;
};

TEST_CASE("overlay: of many pieces those with zeros between them are mapped as one") {
  const Scattered scattered(Scattered::Below::little);
  CHECK(scattered.mappings() == 3);  // page 1, the last odd one and the end of all are borders
  scattered.check_content();
  CHECK(scattered.memory->overlay_ranges().size() == Scattered::kPieces + 1);
  CHECK(scattered.memory->written_ranges().empty());
}

TEST_CASE("overlay: of many pieces the shortest are copied, and count as written when they are") {
  Scattered scattered(Scattered::Below::all);
  CHECK(scattered.mappings() < GuestMemory::kMaxOverlayRanges);
  scattered.check_content();
  CHECK(scattered.memory->overlay_ranges().size() == Scattered::kPieces + 1);
  CHECK(scattered.memory->written_ranges().empty());
  GuestMemory& memory = *scattered.memory;
  const uint64_t last = 2 * Scattered::kPieces - 2;         // the last ones are copies
  REQUIRE(memory.write((last - 2) * kPageSize, last - 1));  // what it was
  REQUIRE(memory.write(last * kPageSize, uint64_t{4}));
  CHECK(memory.written_ranges() == PageRanges{page(last)});
}

TEST_CASE("overlay: what was copied is not compared once another overlay lies above it") {
  Scattered scattered(Scattered::Below::all);
  GuestMemory& memory = *scattered.memory;
  const uint64_t last = 2 * Scattered::kPieces - 2;
  const auto above = file_of({{last, 77}}, Scattered::kLarge);
  REQUIRE(memory.add_overlay(above.get()));
  CHECK(value_at(memory, last) == 77);
  CHECK(memory.written_ranges().empty());
  REQUIRE(memory.write(last * kPageSize, last + 1));  // as the first overlay has it
  CHECK(memory.written_ranges() == PageRanges{page(last)});
}

TEST_CASE("overlay: its page list decides, whatever else its file holds") {
  const auto base = file_of({{1, 11}, {2, 12}, {3, 13}});
  const auto overlay = file_of({{1, 99}, {2, 22}, {3, 99}, {4, 99}});
  state::PageRuns runs(kBytes / kPageSize);
  REQUIRE(runs.append(2, 1));
  REQUIRE(state::append_page_list(overlay.get(), kBytes, runs));
  GuestMemory memory = memory_from(base);
  REQUIRE(memory.add_overlay(overlay.get()));
  CHECK(value_at(memory, 1) == 11);
  CHECK(value_at(memory, 2) == 22);
  CHECK(value_at(memory, 3) == 13);
  CHECK(value_at(memory, 4) == 0);
  CHECK(memory.overlay_ranges() == PageRanges{page(2)});
}
