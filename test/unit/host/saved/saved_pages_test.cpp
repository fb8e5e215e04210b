// A chain of captures on a file system that tells of holes and data in blocks larger than a page:
// the memory that comes of it is the guest's, byte for byte.
#include "host/saved/saved_pages.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <map>

#include "state/memory_file.hpp"
#include "state/overlay.hpp"
#include "sys/file.hpp"
#include "unit/coarse_holes.hpp"
#include "unit/host/temp_dir.hpp"
#include "vmm/memory/guest_memory.hpp"

using namespace microvm;
using namespace microvm::host;
using state::kPageBytes;

namespace {

constexpr uint64_t kMemoryBytes = 4 << 20;
constexpr uint64_t kMemoryPages = kMemoryBytes / kPageBytes;
// A page's first value; a page that is not named holds 0.
using Pages = std::map<uint64_t, uint64_t>;

base::Fd file_of(const Pages& pages) {
  auto file = sys::memory_file("pages", kMemoryBytes);
  REQUIRE(file);
  for (const auto& [page, value] : pages) {
    std::vector<std::byte> bytes(kPageBytes);
    std::memcpy(bytes.data(), &value, sizeof value);
    REQUIRE(sys::pwrite_full(file->get(), bytes, page * kPageBytes));
  }
  return std::move(*file);
}

Captured captured_with(const Pages& pages) {
  Captured captured;
  captured.pages = file_of(pages);
  captured.state = file_of({});
  captured.memory_bytes = kMemoryBytes;
  state::PageRuns runs(kMemoryPages);
  for (const auto& [page, value] : pages) REQUIRE(runs.append(page, 1));
  REQUIRE(state::append_page_list(captured.pages.get(), kMemoryBytes, runs));
  return captured;
}

Pages pages_of(const vmm::GuestMemory& memory) {
  Pages pages;
  for (uint64_t page = 0; page < kMemoryPages; ++page) {
    uint64_t value = 0;
    REQUIRE(memory.read(page * kPageBytes, value));
    if (value != 0) pages[page] = value;
  }
  return pages;
}

}  // namespace

TEST_CASE("saved pages: a chain is right where holes are told of in larger blocks") {
  Pages image;
  for (uint64_t page = 0; page < kMemoryPages; ++page) image[page] = 1000 + page;
  const Pages first = {{3, 1}, {40, 0}, {41, 2}, {700, 3}};
  const Pages second = {{41, 4}, {99, 5}, {1023, 6}};
  Pages expected = image;
  for (const Pages* pages : {&first, &second}) {
    for (const auto& [page, value] : *pages) expected[page] = value;
  }
  expected.erase(40);  // which is zeros now

  const test::CoarseHoles coarse(65536);
  const test::TempDir dir;
  std::ofstream(dir / "disk-1.layer") << "layer";
  Captured captured = captured_with(first);
  captured.layers = {"disk-1.layer"};
  const auto once = save_captured(captured, dir.path(), dir.path(), nullptr, Limits(CallLimits{}));
  REQUIRE(once);
  captured = captured_with(second);
  captured.layers = {"disk-1.layer"};
  captured.pages_before = once->pages;
  const auto twice = save_captured(captured, dir.path(), dir.path(), nullptr, Limits(CallLimits{}));
  REQUIRE(twice);
  CHECK(twice->pages.size() == 2);

  const auto overlay = expand_pages(dir.path(), *twice, kMemoryBytes);
  REQUIRE(overlay);
  const auto runs = state::read_page_runs(overlay->get(), kMemoryBytes);
  REQUIRE(runs);
  CHECK(runs->page_count() == 6);
  auto memory = vmm::GuestMemory::reserve(kMemoryBytes);
  REQUIRE(memory);
  const auto below = file_of(image);
  REQUIRE(memory->back_with_file(below.get()));
  REQUIRE(memory->add_overlay(overlay->get()));
  CHECK(pages_of(*memory) == expected);
}
