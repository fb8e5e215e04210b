#include "vmm/disk/allocation_map.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "state/crc32c.hpp"

namespace microvm::vmm {
namespace {

constexpr uint64_t kBitBytes = AllocationMap::kSectorBytes - 4;

// The sector's number goes in, so that one written to another's place is noticed.
uint32_t sector_checksum(uint64_t sector, wire::ByteView bits) {
  return state::crc32c(bits, static_cast<uint32_t>(sector) + 1);
}

bool all_zero(wire::ByteView bytes) {
  return bytes[0] == std::byte{0} &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

AllocationMap::AllocationMap(uint64_t granules)
    : granules_(granules),
      size_(bytes_for(granules)),
      bits_(static_cast<std::byte*>(std::calloc(1, size_))),
      changed_(size_ / kPageBytes) {
  if (bits_ == nullptr) throw std::bad_alloc();
}

bool AllocationMap::test(uint64_t granule) const noexcept {
  return (std::to_integer<unsigned>(bits_[byte_of(granule)]) >> (granule % 8) & 1) != 0;
}

uint64_t AllocationMap::run_end(uint64_t granule, uint64_t limit) const noexcept {
  const bool state = test(granule);
  const std::byte same{static_cast<unsigned char>(state ? 0xff : 0)};
  while (granule < limit && test(granule) == state) {
    granule += granule % 8 == 0 && bits_[byte_of(granule)] == same ? 8 : 1;
  }
  return std::min(granule, limit);
}

void AllocationMap::set(uint64_t first, uint64_t last) {
  for (uint64_t granule = first; granule <= last; ++granule) {
    bits_[byte_of(granule)] |= std::byte{1} << (granule % 8);
    changed_[byte_of(granule) / kPageBytes] = true;
  }
  any_changed_ = true;
}

bool AllocationMap::verify(uint64_t offset, uint64_t length) const {
  const uint64_t end = std::min(offset + length, size_);
  for (uint64_t sector = offset / kSectorBytes; sector * kSectorBytes < end; ++sector) {
    if (!verify_sector(sector)) return false;
  }
  return true;
}

bool AllocationMap::verify_sector(uint64_t sector) const {
  const wire::ByteView all(bits_.get() + sector * kSectorBytes, kSectorBytes);
  if (all_zero(all)) return true;
  uint32_t stored = 0;
  std::memcpy(&stored, all.data() + kBitBytes, sizeof stored);
  if (stored != sector_checksum(sector, all.first(kBitBytes))) return false;
  const uint64_t first = sector * kBitsPerSector;
  for (uint64_t bit = first < granules_ ? granules_ - first : 0; bit < kBitsPerSector; ++bit) {
    if ((std::to_integer<unsigned>(all[bit / 8]) >> (bit % 8) & 1) != 0) return false;
  }
  return true;
}

wire::Bytes AllocationMap::sealed_page(uint64_t page) const {
  const std::byte* from = bits_.get() + page * kPageBytes;
  wire::Bytes out(from, from + kPageBytes);
  for (uint64_t at = 0; at < kPageBytes; at += kSectorBytes) {
    const std::span<std::byte> bits(out.data() + at, kBitBytes);
    if (all_zero(bits)) continue;
    const uint32_t sum = sector_checksum((page * kPageBytes + at) / kSectorBytes, bits);
    std::memcpy(out.data() + at + kBitBytes, &sum, sizeof sum);
  }
  return out;
}

std::vector<AllocationMap::Patch> AllocationMap::take_changes() {
  std::vector<Patch> patches;
  if (!std::exchange(any_changed_, false)) return patches;
  for (uint64_t page = 0; page < changed_.size(); ++page) {
    if (!changed_[page]) continue;
    changed_[page] = false;
    const wire::Bytes sealed = sealed_page(page);
    const uint64_t offset = page * kPageBytes;
    if (patches.empty() || patches.back().offset + patches.back().bytes.size() != offset) {
      patches.push_back({offset, {}});
    }
    wire::Bytes& bytes = patches.back().bytes;
    bytes.insert(bytes.end(), sealed.begin(), sealed.end());
  }
  return patches;
}

void AllocationMap::put_back(const std::vector<Patch>& patches) {
  for (const Patch& patch : patches) {
    for (uint64_t at = 0; at < patch.bytes.size(); at += kPageBytes) {
      changed_[(patch.offset + at) / kPageBytes] = true;
    }
    any_changed_ = true;
  }
}

}  // namespace microvm::vmm
