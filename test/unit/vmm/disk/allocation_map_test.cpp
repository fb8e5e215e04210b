#include "vmm/disk/allocation_map.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using microvm::vmm::AllocationMap;

TEST_CASE("allocation map: bits and runs across bytes, sectors and pages") {
  constexpr uint64_t kGranules = 3 * 8 * AllocationMap::kBitsPerSector + 5;
  AllocationMap map(kGranules);
  CHECK(AllocationMap::bytes_for(kGranules) == 4 * AllocationMap::kPageBytes);
  CHECK(map.run_end(0, kGranules) == kGranules);
  const uint64_t edge = AllocationMap::kBitsPerSector;
  map.set(edge - 3, edge + 2);
  map.set(kGranules - 1, kGranules - 1);
  for (uint64_t granule = 0; granule < kGranules; ++granule) {
    const bool expected = (granule >= edge - 3 && granule <= edge + 2) || granule == kGranules - 1;
    if (map.test(granule) != expected) FAIL_CHECK("granule " << granule);
  }
  CHECK(map.run_end(0, kGranules) == edge - 3);
  CHECK(map.run_end(0, 17) == 17);
  CHECK(map.run_end(edge - 3, kGranules) == edge + 3);
  CHECK(map.run_end(edge + 3, kGranules) == kGranules - 1);
  CHECK(map.run_end(kGranules - 1, kGranules) == kGranules);
}

TEST_CASE("allocation map: only changed pages are written, neighbours together") {
  const uint64_t page_bits = 8 * AllocationMap::kBitsPerSector;
  AllocationMap map(5 * page_bits);
  CHECK(map.take_changes().empty());
  map.set(3, 3);
  map.set(page_bits + 1, page_bits + 9);
  map.set(4 * page_bits, 4 * page_bits);
  const auto patches = map.take_changes();
  REQUIRE(patches.size() == 2);
  CHECK(patches[0].offset == 0);
  CHECK(patches[0].bytes.size() == 2 * AllocationMap::kPageBytes);
  CHECK(patches[1].offset == 4 * AllocationMap::kPageBytes);
  CHECK(map.take_changes().empty());
  map.put_back(patches);
  CHECK(map.take_changes().size() == 2);
}

TEST_CASE("allocation map: what was written loads again; damage is noticed bit by bit") {
  constexpr uint64_t kGranules = 9000;  // 3 sectors, the last one in part
  AllocationMap map(kGranules);
  map.set(1, 40);
  map.set(8990, 8999);
  const auto patches = map.take_changes();
  REQUIRE(patches.size() == 1);

  AllocationMap loaded(kGranules);
  const auto storage = loaded.storage();
  std::copy(patches[0].bytes.begin(), patches[0].bytes.end(), storage.begin());
  CHECK(loaded.verify(0, storage.size()));
  CHECK(loaded.test(40));
  CHECK_FALSE(loaded.test(41));
  CHECK(loaded.test(8999));

  std::set<size_t> missed;
  for (size_t bit = 0; bit < storage.size() * 8; bit += 3) {
    storage[bit / 8] ^= std::byte{1} << (bit % 8);
    if (loaded.verify(0, storage.size())) missed.insert(bit);
    storage[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  CHECK(missed.empty());
}

TEST_CASE("allocation map: a sector in another's place and bits beyond the end are damage") {
  AllocationMap map(2 * AllocationMap::kBitsPerSector);
  map.set(0, 0);
  auto bytes = map.take_changes()[0].bytes;
  std::swap_ranges(bytes.begin(), bytes.begin() + 512, bytes.begin() + 512);
  AllocationMap moved(2 * AllocationMap::kBitsPerSector);
  std::copy(bytes.begin(), bytes.end(), moved.storage().begin());
  CHECK_FALSE(moved.verify(0, moved.storage().size()));

  AllocationMap longer(16);
  longer.set(12, 12);
  bytes = longer.take_changes()[0].bytes;
  AllocationMap shorter(12);
  std::copy(bytes.begin(), bytes.end(), shorter.storage().begin());
  CHECK_FALSE(shorter.verify(0, shorter.storage().size()));
}
