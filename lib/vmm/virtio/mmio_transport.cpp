// The register file: what each register does.
#include "vmm/virtio/mmio_transport.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/virtio/mmio_registers.hpp"

namespace microvm::vmm {

using namespace mmio;

namespace {

void set_low(uint64_t& field, uint32_t value) {
  field = (field & ~uint64_t{0xffff'ffff}) | value;
}
void set_high(uint64_t& field, uint32_t value) {
  field = (field & 0xffff'ffff) | uint64_t{value} << 32;
}

// Registers are read and written as aligned 32-bit words. virtio 1.2 §4.2.2.2
bool is_register_access(uint64_t offset, size_t size) {
  return offset < kConfig && offset % 4 == 0 && size == sizeof(uint32_t);
}

}  // namespace

MmioTransport::MmioTransport(GuestMemory& memory, sys::Loop& loop, Irq& irq,
                             std::unique_ptr<Device> device, base::LogSink log)
    : Transport(memory, loop, std::move(device), std::move(log)), irq_(irq) {}

void MmioTransport::raise(uint32_t reason) {
  interrupt_status_.fetch_or(reason, std::memory_order_acq_rel);
  irq_.raise();
}

void MmioTransport::interrupt_used(uint16_t) {
  raise(kUsedBuffer);
}

void MmioTransport::interrupt_config() {
  raise(kConfigChange);
}

void MmioTransport::repeat_interrupts() {
  if (interrupt_status_ != 0) irq_.raise();
}

void MmioTransport::read(uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= kConfig) {
    const auto guard = lock();
    return read_config(offset - kConfig, data);
  }
  if (!is_register_access(offset, data.size())) return;
  uint32_t value = 0;
  if (offset == kInterruptStatus) {
    value = interrupt_status_.load(std::memory_order_acquire);
  } else {
    const auto guard = lock();
    value = read_register(offset);
  }
  std::memcpy(data.data(), &value, sizeof value);
}

void MmioTransport::write(uint64_t offset, std::span<const std::byte> data) {
  if (!is_register_access(offset, data.size())) return;
  uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof value);
  if (offset == kInterruptAck) {
    interrupt_status_.fetch_and(~value, std::memory_order_acq_rel);
    return;
  }
  if (offset == kQueueNotify) {  // where there is no ioeventfd
    if (value < queue_count()) post_kick(static_cast<uint16_t>(value));
    return;
  }
  auto guard = lock();
  write_register(guard, offset, value);
}

uint32_t MmioTransport::read_register(uint64_t offset) const {
  switch (offset) {
    case kMagicValue:
      return kMagic;
    case kVersionNumber:
      return kVersion;
    case kDeviceId:
      return state_.device_type;
    case kVendorId:
      return kVendor;
    case kDeviceFeatures:
      return device_features();
    case kStatus:
      return state_.status;
    case kConfigGeneration:
      return state_.config_generation;
    default:
      return read_queue_register(offset);
  }
}

uint32_t MmioTransport::read_queue_register(uint64_t offset) const {
  if (offset >= kShmLenLow && offset <= kShmBaseHigh) return ~uint32_t{0};
  if (selected() == nullptr) return 0;
  if (offset == kQueueSizeMax) return selected()->max_size();
  if (offset == kQueueReady) return state_.queues[state_.queue_sel].ready ? 1 : 0;
  return 0;
}

void MmioTransport::write_register(std::unique_lock<std::mutex>& guard, uint64_t offset,
                                   uint32_t value) {
  switch (offset) {
    case kDeviceFeaturesSel:
      state_.device_features_sel = value;
      break;
    case kDriverFeaturesSel:
      state_.driver_features_sel = value;
      break;
    case kDriverFeatures:
      write_driver_features(value);
      break;
    case kQueueSel:
      state_.queue_sel = value;
      break;
    case kStatus:
      return write_status(guard, value);
    case kQueueReady:
      if (value == 0) return stop_selected();
      if (value == 1) enable_selected();
      break;
    default:
      write_queue_register(offset, value);
  }
}

void MmioTransport::write_queue_register(uint64_t offset, uint32_t value) {
  QueueSetup* setup = setup_of_selected();
  if (setup == nullptr) return;
  switch (offset) {
    case kQueueSize:
      setup->size = static_cast<uint16_t>(std::min<uint32_t>(value, UINT16_MAX));
      break;
    case kQueueDescLow:
      return set_low(setup->descriptors, value);
    case kQueueDescHigh:
      return set_high(setup->descriptors, value);
    case kQueueDriverLow:
      return set_low(setup->available, value);
    case kQueueDriverHigh:
      return set_high(setup->available, value);
    case kQueueDeviceLow:
      return set_low(setup->used, value);
    case kQueueDeviceHigh:
      return set_high(setup->used, value);
    default:
      break;
  }
}

}  // namespace microvm::vmm
