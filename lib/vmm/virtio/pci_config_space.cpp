#include "vmm/virtio/pci_config_space.hpp"

#include <algorithm>

#include "vmm/virtio/pci_registers.hpp"

namespace microvm::vmm {

static_assert(pci::kCapabilities == 0x34 && pci::kFirstCapability == 0x40);

uint32_t PciConfigSpace::add_capability(uint8_t id, std::span<const std::byte> body) {
  const uint32_t at = end_;
  put(link_at_, static_cast<uint8_t>(at));
  put(at, id);
  for (uint32_t to = at + 2; const std::byte value : body) {
    if (to < kBytes) bytes_[to++] = value;
  }
  link_at_ = at + 1;
  end_ = (at + 2 + static_cast<uint32_t>(body.size()) + 3) & ~3u;
  put(pci::kStatus, static_cast<uint16_t>(get<uint16_t>(pci::kStatus) | pci::kHasCapabilities));
  return at;
}

void PciConfigSpace::read(uint32_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0xff});
  if (offset >= kBytes) return;
  const size_t inside = std::min<size_t>(data.size(), kBytes - offset);
  std::copy_n(bytes_.begin() + offset, inside, data.begin());
}

void PciConfigSpace::write(uint32_t offset, std::span<const std::byte> data) {
  for (const std::byte value : data) {
    if (offset >= kBytes) return;
    const std::byte mask = writable_[offset];
    bytes_[offset] = (bytes_[offset] & ~mask) | (value & mask);
    ++offset;
  }
}

bool PciConfigSpace::load(wire::ByteView saved) {
  if (saved.size() != kBytes) return false;
  for (uint32_t i = 0; i < kBytes; ++i) {
    if (((saved[i] ^ bytes_[i]) & ~writable_[i]) != std::byte{0}) return false;
  }
  std::ranges::copy(saved, bytes_.begin());
  return true;
}

}  // namespace microvm::vmm
