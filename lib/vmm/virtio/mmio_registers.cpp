// The driver's side of the transport: what each register does.
#include "vmm/virtio/mmio_registers.hpp"

#include <algorithm>
#include <cstring>

#include "vmm/virtio/mmio_transport.hpp"

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

void MmioTransport::read(uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  if (offset >= kConfig) {
    const std::lock_guard guard(mutex_);
    return read_config(offset - kConfig, data);
  }
  if (!is_register_access(offset, data.size())) return;
  uint32_t value = 0;
  if (offset == kInterruptStatus) {
    value = interrupt_status_.load(std::memory_order_acquire);
  } else {
    const std::lock_guard guard(mutex_);
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
    if (value < queues_.size()) post(&MmioTransport::kick, static_cast<uint16_t>(value));
    return;
  }
  std::unique_lock guard(mutex_);
  write_register(guard, offset, value);
}

void MmioTransport::read_config(uint64_t offset, std::span<std::byte> data) const {
  const std::span<const std::byte> config = device_->config();
  if (offset >= config.size()) return;
  const std::span<const std::byte> rest = config.subspan(offset);
  std::memcpy(data.data(), rest.data(), std::min(rest.size(), data.size()));
}

uint32_t MmioTransport::read_register(uint64_t offset) {
  switch (offset) {
    case kMagicValue:
      return kMagic;
    case kVersionNumber:
      return kVersion;
    case kDeviceId:
      return static_cast<uint32_t>(device_->kind().type);
    case kVendorId:
      return kVendor;
    case kDeviceFeatures:
      if (state_.device_features_sel > 1) return 0;
      return static_cast<uint32_t>(offered_features() >> (32 * state_.device_features_sel));
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
  if (state_.queue_sel >= queues_.size()) return 0;
  if (offset == kQueueSizeMax) return queues_[state_.queue_sel].max_size();
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
      if (value == 0) return reset(guard);
      write_status(value);
      break;
    default:
      write_queue_register(offset, value);
  }
}

void MmioTransport::write_driver_features(uint32_t value) {
  if (!has_status(kDriver) || has_status(kFeaturesOk)) return;
  if (state_.driver_features_sel == 0) set_low(state_.driver_features, value);
  if (state_.driver_features_sel == 1) set_high(state_.driver_features, value);
}

// Queues are set up between FEATURES_OK and DRIVER_OK and are frozen from then on: one that is in
// use can only be stopped.
void MmioTransport::write_queue_register(uint64_t offset, uint32_t value) {
  if (state_.queue_sel >= queues_.size() || !has_status(kFeaturesOk)) return;
  if (has_status(kDriverOk)) {
    if (offset == kQueueReady && value == 0) stop_queue(static_cast<uint16_t>(state_.queue_sel));
    return;
  }
  QueueSetup& setup = state_.queues[state_.queue_sel];
  if (offset == kQueueReady) {
    setup.ready = value == 1;
    return;
  }
  if (setup.ready) return;
  switch (offset) {
    case kQueueSize:
      setup.size = static_cast<uint16_t>(std::min<uint32_t>(value, UINT16_MAX));
      break;
    case kQueueDescLow:
      return set_low(setup.descriptors, value);
    case kQueueDescHigh:
      return set_high(setup.descriptors, value);
    case kQueueDriverLow:
      return set_low(setup.available, value);
    case kQueueDriverHigh:
      return set_high(setup.available, value);
    case kQueueDeviceLow:
      return set_low(setup.used, value);
    case kQueueDeviceHigh:
      return set_high(setup.used, value);
    default:
      break;
  }
}

// virtio 1.2 §3.1.1: the driver sets bits in this order and never clears one but by a reset. What
// does not fit is not taken over, which the driver sees when it reads the status back.
void MmioTransport::write_status(uint32_t value) {
  if (resetting_) return;
  if ((state_.status & kDriverStatus & ~value) != 0) return;
  const uint32_t added = value & kDriverStatus & ~state_.status;
  state_.status |= added & (kAcknowledge | kFailed);
  if ((added & kDriver) != 0 && has_status(kAcknowledge)) state_.status |= kDriver;
  if ((added & kFeaturesOk) != 0 && has_status(kDriver) && accept_features()) {
    state_.status |= kFeaturesOk;
  }
  if ((added & kDriverOk) != 0 && has_status(kFeaturesOk)) start_driver();
}

bool MmioTransport::accept_features() const {
  const bool offered = (state_.driver_features & ~offered_features()) == 0;
  return offered && (state_.driver_features & kFeatureVersion1) != 0;
}

}  // namespace microvm::vmm
