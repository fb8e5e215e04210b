// The registers behind the BAR, and the function's interrupts.
#include "vmm/virtio/pci_transport.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace microvm::vmm {

using namespace pci;
using status::kConfigChange;
using status::kNeedsReset;
using status::kUsedBuffer;

namespace {

// A driver reads and writes each field as a whole, one of 64 bits as two halves.
// virtio 1.2 §4.1.3.1
size_t width_of(uint64_t offset) {
  switch (offset) {
    case pci::kDeviceStatus:
    case pci::kConfigGeneration:
      return sizeof(uint8_t);
    case pci::kConfigVector:
    case pci::kNumQueues:
    case pci::kQueueSelect:
    case pci::kQueueSize:
    case pci::kQueueVector:
    case pci::kQueueEnable:
    case pci::kQueueNotifyOff:
      return sizeof(uint16_t);
    default:
      return offset % sizeof(uint32_t) == 0 ? sizeof(uint32_t) : 0;
  }
}

bool is_field(uint64_t offset, size_t bytes) {
  return offset < pci::kCommonBytes && bytes == width_of(offset);
}

// One of the three addresses of a queue, and which half of it.
uint64_t* address_field(QueueSetup& setup, uint64_t offset) {
  switch (offset & ~uint64_t{4}) {
    case pci::kQueueDescLow:
      return &setup.descriptors;
    case pci::kQueueDriverLow:
      return &setup.available;
    case pci::kQueueDeviceLow:
      return &setup.used;
    default:
      return nullptr;
  }
}

uint32_t half_shift(uint64_t offset) {
  return (offset & 4) != 0 ? 32 : 0;
}

}  // namespace

PciTransport::PciTransport(GuestMemory& memory, sys::Loop& loop, MessageInterrupts& interrupts,
                           uint32_t address, std::unique_ptr<Device> device, base::LogSink log)
    : Transport(memory, loop, std::move(device), std::move(log)),
      address_(address),
      msix_(interrupts, vectors_for(queue_count())),
      queue_vectors_(queue_count(), MsixTable::kNoVector) {
  lay_out_config(this->device().kind());
  reset_registers();
}

// ---- interrupts --------------------------------------------------------------------------------

// The ISR bit of a queue is for drivers without MSI-X. virtio 1.2 §4.1.5.3.1, §4.1.5.4.1
void PciTransport::interrupt_used(uint16_t queue) {
  if (!msix_.enabled()) interrupt_status_.fetch_or(kUsedBuffer, std::memory_order_acq_rel);
  msix_.raise(queue_vectors_[queue]);
}

void PciTransport::interrupt_config() {
  interrupt_status_.fetch_or(kConfigChange, std::memory_order_acq_rel);
  msix_.raise(config_vector_);
}

// A message on its way when the machine stopped is nowhere in what is saved of it. A driver that
// gets one too many looks and finds nothing.
void PciTransport::repeat_interrupts() {
  for (uint16_t index = 0; index < queue_count(); ++index) {
    if (queue(index).driver_is_behind()) msix_.raise(queue_vectors_[index]);
  }
  if (has_status(kNeedsReset)) msix_.raise(config_vector_);
}

void PciTransport::reset_registers() {
  config_vector_ = MsixTable::kNoVector;
  std::ranges::fill(queue_vectors_, MsixTable::kNoVector);
  msix_.forget_pending();
  for (uint16_t index = 0; index < queue_count(); ++index) {
    state_.queues[index].size = queue(index).max_size();  // virtio 1.2 §4.1.4.3
  }
}

// A vector that is not there reads as none, which tells the driver. virtio 1.2 §4.1.5.1.2.1
uint16_t PciTransport::vector_for(uint32_t value) const {
  return msix_.is_vector(value) ? static_cast<uint16_t>(value) : MsixTable::kNoVector;
}

// ---- behind the BAR ----------------------------------------------------------------------------

void PciTransport::read(uint64_t offset, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
  if (memory_on_) read_registers(offset, data);
}

void PciTransport::write(uint64_t offset, std::span<const std::byte> data) {
  if (memory_on_) write_registers(offset, data);
}

void PciTransport::read_registers(uint64_t offset, std::span<std::byte> data) {
  const uint64_t place = offset % pci::kPage;
  if (offset - place == pci::kIsrAt) return read_isr(place, data);
  const auto guard = lock();
  switch (offset - place) {
    case pci::kCommonAt: {
      if (!is_field(place, data.size())) return;
      const uint32_t value = read_common(place);
      std::memcpy(data.data(), &value, data.size());
      return;
    }
    case pci::kDeviceAt:
      return read_config(place, data);
    case pci::kMsixTableAt:
      return msix_.read(place, data);
    case pci::kMsixPendingAt:
      return msix_.read_pending(place, data);
    default:
      return;
  }
}

void PciTransport::write_registers(uint64_t offset, std::span<const std::byte> data) {
  const uint64_t place = offset % pci::kPage;
  const uint64_t notified = place / pci::kNotifyStride;
  if (offset - place == pci::kNotifyAt) {  // where there is no ioeventfd
    if (notified < queue_count()) post_kick(static_cast<uint16_t>(notified));
    return;
  }
  auto guard = lock();
  if (offset - place == pci::kMsixTableAt) return msix_.write(place, data);
  if (offset - place != pci::kCommonAt || !is_field(place, data.size())) return;
  uint32_t value = 0;
  std::memcpy(&value, data.data(), data.size());
  write_common(guard, place, value);
}

// Reading takes the bits away. virtio 1.2 §4.1.4.5
void PciTransport::read_isr(uint64_t offset, std::span<std::byte> data) {
  if (offset != 0 || data.size() != 1) return;
  data[0] = static_cast<std::byte>(interrupt_status_.exchange(0, std::memory_order_acq_rel));
}

uint32_t PciTransport::read_common(uint64_t offset) const {
  switch (offset) {
    case pci::kDeviceFeatureSelect:
      return state_.device_features_sel;
    case pci::kDeviceFeature:
      return device_features();
    case pci::kDriverFeatureSelect:
      return state_.driver_features_sel;
    case pci::kDriverFeature:
      return driver_features();
    case pci::kConfigVector:
      return config_vector_;
    case pci::kNumQueues:
      return queue_count();
    case pci::kDeviceStatus:
      return state_.status;
    case pci::kConfigGeneration:
      return state_.config_generation;
    case pci::kQueueSelect:
      return state_.queue_sel;
    default:
      return read_queue_register(offset);
  }
}

// virtio 1.2 §4.1.4.3.1: a queue that is not there has the size zero.
uint32_t PciTransport::read_queue_register(uint64_t offset) const {
  if (selected() == nullptr) return offset == pci::kQueueVector ? MsixTable::kNoVector : 0;
  QueueSetup setup = state_.queues[state_.queue_sel];
  switch (offset) {
    case pci::kQueueSize:
      return setup.size;
    case pci::kQueueVector:
      return queue_vectors_[state_.queue_sel];
    case pci::kQueueEnable:
      return setup.ready ? 1 : 0;
    case pci::kQueueNotifyOff:
      return state_.queue_sel;
    default:
      return static_cast<uint32_t>(*address_field(setup, offset) >> half_shift(offset));
  }
}

void PciTransport::write_common(std::unique_lock<std::mutex>& guard, uint64_t offset,
                                uint32_t value) {
  switch (offset) {
    case pci::kDeviceFeatureSelect:
      state_.device_features_sel = value;
      break;
    case pci::kDriverFeatureSelect:
      state_.driver_features_sel = value;
      break;
    case pci::kDriverFeature:
      write_driver_features(value);
      break;
    case pci::kConfigVector:
      config_vector_ = vector_for(value);
      break;
    case pci::kDeviceStatus:
      return write_status(guard, value);
    case pci::kQueueSelect:
      state_.queue_sel = value;
      break;
    default:
      write_queue_register(offset, value);
  }
}

// Once enabled a queue runs until the device is reset. virtio 1.2 §4.1.4.3.2
void PciTransport::write_queue_register(uint64_t offset, uint32_t value) {
  if (offset == pci::kQueueVector && selected() != nullptr) {
    queue_vectors_[state_.queue_sel] = vector_for(value);
  }
  if (offset == pci::kQueueEnable && value == 1) return enable_selected();
  QueueSetup* setup = setup_of_selected();
  if (setup == nullptr) return;
  if (offset == pci::kQueueSize) setup->size = static_cast<uint16_t>(value);
  if (uint64_t* address = address_field(*setup, offset)) {
    const uint32_t shift = half_shift(offset);
    *address = (*address & ~(uint64_t{0xffff'ffff} << shift)) | uint64_t{value} << shift;
  }
}

// ---- snapshot ----------------------------------------------------------------------------------

void PciTransport::save_registers(state::Writer& out, uint32_t instance) const {
  wire::ByteWriter body;
  for (uint32_t at = 0; at < PciConfigSpace::kBytes; at += sizeof(uint64_t)) {
    body.put(config_.get<uint64_t>(at));
  }
  body.put(config_vector_);
  body.put(queue_count());
  for (const uint16_t vector : queue_vectors_) body.put(vector);
  msix_.save(body);
  out.add(state::SectionId::virtio_pci, instance, kPciStateVersion, body.take());
}

Result<void> PciTransport::restore_registers(const state::Reader& in, uint32_t instance) {
  const auto section = in.find(state::SectionId::virtio_pci, instance, kPciStateVersion);
  if (!section) return base::fail(section.error());
  wire::ByteReader body(section->body);
  const wire::ByteView config = body.get_bytes(PciConfigSpace::kBytes);
  config_vector_ = vector_for(body.get<uint16_t>());
  if (body.get<uint16_t>() != queue_count()) body.fail();
  for (uint16_t& vector : queue_vectors_) vector = vector_for(body.get<uint16_t>());
  msix_.restore(body);
  if (!body.done()) {
    return base::fail(ErrorCode::corrupt, "virtio pci state: bad structure");
  }
  if (!config_.load(config)) {
    return base::fail(ErrorCode::unsupported,
                      "virtio pci state: the guest knows another function here; use the library "
                      "that made the snapshot");
  }
  apply_config();
  return {};
}

}  // namespace microvm::vmm
