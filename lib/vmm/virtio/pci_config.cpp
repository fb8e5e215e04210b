// The function's configuration space: what a guest finds there, and what its changes do.
#include <algorithm>

#include "vmm/virtio/pci_transport.hpp"

namespace microvm::vmm {

namespace {

// What the BAR reads as once all its bits were set: its size. PCI 3.0 §6.2.5.1
constexpr uint32_t kBarSizeMask = ~static_cast<uint32_t>(pci::kBarBytes - 1);

// Base class, subclass and interface (PCI Code and ID Assignment); drivers do not look at it.
uint32_t class_of(DeviceType type) {
  switch (type) {
    case DeviceType::net:
      return 0x02'0000;
    case DeviceType::block:
      return 0x01'8000;
    case DeviceType::vsock:
      return 0x07'8000;
    default:
      return 0xff'0000;
  }
}

}  // namespace

// virtio 1.2 §4.1.2
void PciTransport::lay_out_config(const DeviceKind& kind) {
  const auto type = static_cast<uint16_t>(kind.type);
  config_.put(pci::kVendorId, pci::kVirtioVendor);
  config_.put(pci::kDeviceId, static_cast<uint16_t>(pci::kVirtioDevice + type));
  config_.put(pci::kRevision, class_of(kind.type) << 8 | pci::kModernRevision);
  config_.put(pci::kSubsystemVendor, pci::kVirtioVendor);
  config_.put(pci::kSubsystem, static_cast<uint16_t>(pci::kVirtioDevice + type));
  config_.put(pci::kBar0, address_);
  config_.allow(pci::kCommand,
                static_cast<uint16_t>(pci::kMemoryOn | pci::kBusMaster | pci::kNoPinInterrupts));
  config_.allow(pci::kCacheLine, uint8_t{0xff});
  config_.allow(pci::kLatencyTimer, uint8_t{0xff});
  config_.allow(pci::kBar0, kBarSizeMask);
  config_.allow(pci::kInterruptLine, uint8_t{0xff});

  wire::ByteWriter msix;
  msix.put(static_cast<uint16_t>(msix_.vectors() - 1));
  msix.put(static_cast<uint32_t>(pci::kMsixTableAt));  // in BAR 0: the low bits are zero
  msix.put(static_cast<uint32_t>(pci::kMsixPendingAt));
  msix_at_ = config_.add_capability(pci::kMsixCapability, msix.bytes());
  config_.allow(msix_at_ + pci::kMsixControl,
                static_cast<uint16_t>(pci::kMsixEnabled | pci::kMsixMasked));

  add_window(pci::kCommonWindow, pci::kCommonAt, pci::kCommonBytes);
  add_window(pci::kIsrWindow, pci::kIsrAt, 1);
  add_window(pci::kDeviceWindow, pci::kDeviceAt, pci::kPage);
  wire::ByteWriter stride;
  stride.put(static_cast<uint32_t>(pci::kNotifyStride));
  add_window(pci::kNotifyWindow, pci::kNotifyAt, pci::kNotifyStride * queue_count(),
             stride.bytes());
  const std::array<std::byte, sizeof(uint32_t)> data{};
  add_window(pci::kAccessWindow, 0, 0, data);
}

// virtio 1.2 §4.1.4: length of the capability, kind, BAR, id, two bytes of padding, offset, length.
void PciTransport::add_window(pci::WindowKind kind, uint64_t offset, uint64_t bytes,
                              wire::ByteView more) {
  constexpr uint8_t kPlainBytes = 16;
  wire::ByteWriter out;
  out.put(static_cast<uint8_t>(kPlainBytes + more.size()));
  out.put<uint8_t>(kind);
  out.put<uint32_t>(0);
  out.put(static_cast<uint32_t>(offset));
  out.put(static_cast<uint32_t>(bytes));
  out.put_bytes(more);
  const uint32_t at = config_.add_capability(pci::kVendorCapability, out.bytes());
  if (kind != pci::kAccessWindow) return;
  access_at_ = at;
  config_.allow(at + pci::kAccessBar, uint8_t{0xff});
  config_.allow(at + pci::kAccessOffset, ~uint32_t{0});
  config_.allow(at + pci::kAccessLength, ~uint32_t{0});
  config_.allow(at + pci::kAccessData, ~uint32_t{0});
}

void PciTransport::apply_config() {
  const bool asks_size = config_.get<uint32_t>(pci::kBar0) == kBarSizeMask;
  config_.put(pci::kBar0, asks_size ? kBarSizeMask : address_);
  memory_on_ = (config_.get<uint16_t>(pci::kCommand) & pci::kMemoryOn) != 0;
  const auto control = config_.get<uint16_t>(msix_at_ + pci::kMsixControl);
  msix_.set_control((control & pci::kMsixEnabled) != 0, (control & pci::kMsixMasked) != 0);
}

bool PciTransport::touches_access_window(uint32_t offset, size_t bytes) const {
  const uint32_t data = access_at_ + pci::kAccessData;
  return offset < data + sizeof(uint32_t) && offset + bytes > data;
}

// virtio 1.2 §4.1.4.9.1: 1, 2 or 4 bytes at a multiple of that, inside the BAR.
PciTransport::Access PciTransport::access_window() const {
  const auto offset = config_.get<uint32_t>(access_at_ + pci::kAccessOffset);
  const auto length = config_.get<uint32_t>(access_at_ + pci::kAccessLength);
  const bool is_length = length == 1 || length == 2 || length == 4;
  if (config_.get<uint8_t>(access_at_ + pci::kAccessBar) != 0 || !is_length) return {};
  if (offset % length != 0 || offset >= pci::kBarBytes) return {};
  return {offset, length};
}

void PciTransport::config_read(uint32_t offset, std::span<std::byte> data) {
  Access access;
  if (touches_access_window(offset, data.size())) {
    const auto guard = lock();
    access = access_window();
  }
  std::array<std::byte, sizeof(uint32_t)> shown{};
  const auto through = std::span(shown).first(access.length);
  if (!through.empty()) read_registers(access.offset, through);
  const auto guard = lock();
  for (uint32_t i = 0; i < through.size(); ++i)
    config_.put(access_at_ + pci::kAccessData + i, shown[i]);
  config_.read(offset, data);
}

// The registers are written without the mutex, which they take themselves.
void PciTransport::config_write(uint32_t offset, std::span<const std::byte> data) {
  std::array<std::byte, sizeof(uint32_t)> through{};
  Access access;
  {
    const auto guard = lock();
    config_.write(offset, data);
    apply_config();
    if (!touches_access_window(offset, data.size())) return;
    access = access_window();
    through = config_.get<decltype(through)>(access_at_ + pci::kAccessData);
  }
  if (access.length != 0) write_registers(access.offset, std::span(through).first(access.length));
}

}  // namespace microvm::vmm
