#include "vmm/memory/page_scan.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/memory/guest_memory.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kMemoryBytes = 4 << 20;

bool covers(const PageRanges& ranges, uint64_t page) {
  const uint64_t offset = page * kPageSize;
  for (const auto& range : ranges) {
    if (offset >= range.offset && offset < range.offset + range.length) return true;
  }
  return false;
}

void touch(GuestMemory& memory, uint64_t page) {
  REQUIRE(memory.write(page * kPageSize + 8, uint32_t{7}));
}

}  // namespace

TEST_CASE("page scan: of fresh memory, the pages that were written") {
  auto memory = GuestMemory::reserve(kMemoryBytes);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  ::madvise(memory->regions().front().host, kMemoryBytes, MADV_NOHUGEPAGE);
  touch(*memory, 3);
  touch(*memory, 4);
  touch(*memory, 700);
  const auto ranges = memory->data_ranges();
  REQUIRE(ranges);
  for (const uint64_t page : {3u, 4u, 700u}) CHECK(covers(*ranges, page));
  CHECK_FALSE(covers(*ranges, 1023));
}

TEST_CASE("page scan: of memory from a file, its data and what was written since") {
  const base::Fd file(::memfd_create("memory", MFD_CLOEXEC));
  REQUIRE(::ftruncate(file.get(), kMemoryBytes) == 0);
  const uint64_t word = 1;
  REQUIRE(::pwrite(file.get(), &word, sizeof word, 9 * kPageSize) == sizeof word);
  auto memory = GuestMemory::reserve(kMemoryBytes);
  REQUIRE(memory);
  REQUIRE(memory->back_with_file(file.get()));
  touch(*memory, 10);
  touch(*memory, 500);
  uint64_t read = 0;
  REQUIRE(memory->read(600 * kPageSize, read));  // a page of the file that was only looked at
  const auto ranges = memory->data_ranges();
  REQUIRE(ranges);
  for (const uint64_t page : {9u, 10u, 500u}) CHECK(covers(*ranges, page));
  for (size_t i = 1; i < ranges->size(); ++i) {
    CHECK((*ranges)[i].offset > (*ranges)[i - 1].offset + (*ranges)[i - 1].length);
  }
  CHECK_FALSE(covers(*ranges, 300));
}
