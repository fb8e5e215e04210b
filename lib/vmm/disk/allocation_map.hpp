// Which granules of a layer hold data: one bit each, kept as it stands in the file. The map is cut
// into sectors of 512 bytes, 508 of bits and a checksum, because that is what a disk writes whole:
// after a crash every sector is an old or a new one, and both are right (see flush in
// disk_engine.hpp). A sector of zeros is an empty one, so an empty map is a hole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "wire/bytes.hpp"

namespace microvm::vmm {

class AllocationMap {
 public:
  static constexpr uint64_t kSectorBytes = 512;
  static constexpr uint64_t kBitsPerSector = (kSectorBytes - 4) * 8;
  static constexpr uint64_t kPageBytes = 4096;  // the unit of tracking what changed

  // The bytes a map takes in a file, a multiple of kPageBytes.
  [[nodiscard]] static constexpr uint64_t bytes_for(uint64_t granules) {
    const uint64_t sectors = (granules + kBitsPerSector - 1) / kBitsPerSector;
    return (sectors * kSectorBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  }

  AllocationMap() = default;
  explicit AllocationMap(uint64_t granules);  // all free; untouched pages cost no memory

  // For loading: the map's bytes as they stand in the file, then the check of what was loaded.
  [[nodiscard]] std::span<std::byte> storage() noexcept { return {bits_.get(), size_}; }
  // False when a sector that overlaps the range is damaged or has bits beyond the last granule.
  [[nodiscard]] bool verify(uint64_t offset, uint64_t length) const;

  [[nodiscard]] bool test(uint64_t granule) const noexcept;
  // The first granule after `granule`, at most `limit`, whose bit is another than granule's.
  [[nodiscard]] uint64_t run_end(uint64_t granule, uint64_t limit) const noexcept;
  void set(uint64_t first, uint64_t last);  // inclusive

  // What a flush writes: changed pages as they are now, neighbours joined.
  struct Patch {
    uint64_t offset = 0;  // in the map
    wire::Bytes bytes;
  };
  [[nodiscard]] std::vector<Patch> take_changes();
  void put_back(const std::vector<Patch>& patches);  // they did not reach the file

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
  [[nodiscard]] static uint64_t byte_of(uint64_t granule) noexcept {
    return granule / kBitsPerSector * kSectorBytes + granule % kBitsPerSector / 8;
  }
  [[nodiscard]] wire::Bytes sealed_page(uint64_t page) const;
  [[nodiscard]] bool verify_sector(uint64_t sector) const;

  uint64_t granules_ = 0;
  uint64_t size_ = 0;
  std::unique_ptr<std::byte[], Free> bits_;
  std::vector<bool> changed_;  // one per page
  bool any_changed_ = false;
};

}  // namespace microvm::vmm
