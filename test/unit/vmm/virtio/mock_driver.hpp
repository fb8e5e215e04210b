// The driver's side of virtqueues, for tests: rings built by hand in guest memory, rules kept or
// broken as the test likes.
#pragma once

#include <atomic>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "sys/loop.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/virtio/irq.hpp"
#include "vmm/virtio/mmio_registers.hpp"
#include "vmm/virtio/mmio_transport.hpp"

namespace microvm::test {

inline constexpr uint16_t kNext = 1;
inline constexpr uint16_t kWrite = 2;
inline constexpr uint16_t kIndirect = 4;
inline constexpr uint64_t kTestMemoryBytes = 4u << 20;

inline vmm::GuestMemory make_memory() {
  auto memory = vmm::GuestMemory::reserve(kTestMemoryBytes);
  if (!memory || !memory->back_with_zeros()) std::abort();
  return std::move(*memory);
}

struct Descriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};

struct UsedElement {
  uint32_t id = 0;
  uint32_t length = 0;
  bool operator==(const UsedElement&) const = default;
};

// One queue as its driver sees it.
class MockRing {
 public:
  // The areas stand at `base`, 64 KiB of room.
  MockRing(vmm::GuestMemory& memory, uint64_t base, uint16_t size) : memory_(memory) {
    setup.size = size;
    setup.ready = true;
    setup.descriptors = base;
    setup.available = base + 0x8000;
    setup.used = base + 0xc000;
  }

  void describe(uint16_t index, const Descriptor& descriptor) {
    describe_at(setup.descriptors, index, descriptor);
  }
  void describe_at(uint64_t table, uint16_t index, const Descriptor& descriptor) {
    (void)memory_.write(table + 16 * uint64_t{index}, descriptor);
  }
  // Writes buffers as a chain from descriptor `head` on.
  void describe_chain(uint16_t head, std::vector<Descriptor> buffers) {
    for (size_t i = 0; i < buffers.size(); ++i) {
      const auto index = static_cast<uint16_t>((head + i) % setup.size);
      if (i + 1 < buffers.size()) {
        buffers[i].flags = static_cast<uint16_t>(buffers[i].flags | kNext);
        buffers[i].next = static_cast<uint16_t>((index + 1) % setup.size);
      }
      describe(index, buffers[i]);
    }
  }

  // Puts a head into the available ring without moving the index.
  void stage(uint16_t head) {
    put16(setup.available + 4 + 2 * static_cast<uint64_t>(next_available++ % setup.size), head);
  }
  void show_available() { put16(setup.available + 2, next_available); }
  void offer(uint16_t head) {
    stage(head);
    show_available();
  }

  // What the device gave back and the driver has not seen yet.
  std::optional<UsedElement> take_used() {
    if (used_index() == seen_used) return std::nullopt;
    UsedElement element;
    (void)memory_.read(setup.used + 4 + 8 * static_cast<uint64_t>(seen_used++ % setup.size),
                       element);
    return element;
  }
  [[nodiscard]] uint16_t used_index() const { return get16(setup.used + 2); }
  [[nodiscard]] uint16_t used_flags() const { return get16(setup.used); }
  [[nodiscard]] uint16_t kick_event() const { return get16(setup.used + 4 + 8ul * setup.size); }
  void set_interrupt_event(uint16_t value) { put16(setup.available + 4 + 2ul * setup.size, value); }
  void clear_kick_event() { put16(setup.used + 4 + 8ul * setup.size, 0); }
  void set_available_flags(uint16_t value) { put16(setup.available, value); }
  // Both sides of the ring as if `index` buffers had gone through it already.
  void wind_to(uint16_t index) {
    next_available = seen_used = index;
    show_available();
    put16(setup.used + 2, index);
  }

  // Its areas, as in new memory.
  void clear() {
    const std::vector<std::byte> zeros(16ul * setup.size + 8);  // the largest
    for (const uint64_t area : {setup.descriptors, setup.available, setup.used}) {
      (void)memory_.write_bytes(area, zeros);
    }
  }

  vmm::QueueSetup setup;
  uint16_t next_available = 0;
  uint16_t seen_used = 0;

 private:
  void put16(uint64_t address, uint16_t value) { (void)memory_.write(address, value); }
  [[nodiscard]] uint16_t get16(uint64_t address) const {
    uint16_t value = 0;
    (void)memory_.read(address, value);
    return value;
  }
  vmm::GuestMemory& memory_;
};

class CountingIrq : public vmm::Irq {
 public:
  void raise() noexcept override { ++count; }
  std::atomic<int> count = 0;
};

// Register access as a vCPU's exit would do it.
inline uint32_t read_register(vmm::Transport& transport, uint64_t offset) {
  uint32_t value = 0;
  transport.read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}
inline void write_register(vmm::Transport& transport, uint64_t offset, uint32_t value) {
  transport.write(offset, std::as_bytes(std::span(&value, 1)));
}

inline void set_up_queue(vmm::Transport& transport, uint16_t index, const vmm::QueueSetup& setup) {
  using namespace vmm::mmio;
  const auto write64 = [&](uint64_t low, uint64_t value) {
    write_register(transport, low, static_cast<uint32_t>(value));
    write_register(transport, low + 4, static_cast<uint32_t>(value >> 32));
  };
  write_register(transport, kQueueSel, index);
  write_register(transport, kQueueSize, setup.size);
  write64(kQueueDescLow, setup.descriptors);
  write64(kQueueDriverLow, setup.available);
  write64(kQueueDeviceLow, setup.used);
  write_register(transport, kQueueReady, setup.ready ? 1 : 0);
}

inline void negotiate(vmm::Transport& transport, uint64_t features) {
  using namespace vmm::mmio;
  write_register(transport, kStatus, 0);
  write_register(transport, kStatus, kAcknowledge);
  write_register(transport, kStatus, kAcknowledge | kDriver);
  for (uint32_t half = 0; half < 2; ++half) {
    write_register(transport, kDriverFeaturesSel, half);
    write_register(transport, kDriverFeatures, static_cast<uint32_t>(features >> (32 * half)));
  }
  write_register(transport, kStatus, kAcknowledge | kDriver | kFeaturesOk);
}

inline constexpr uint32_t kRunning =
    vmm::mmio::kAcknowledge | vmm::mmio::kDriver | vmm::mmio::kFeaturesOk | vmm::mmio::kDriverOk;

inline void start_driver(vmm::Transport& transport, uint64_t features,
                         std::initializer_list<MockRing*> rings) {
  negotiate(transport, features);
  uint16_t index = 0;
  for (const MockRing* ring : rings) {
    set_up_queue(transport, index++, ring->setup);
  }
  write_register(transport, vmm::mmio::kStatus, kRunning);
}

// Lets the loop work until `done` holds; false after two seconds.
template <class Condition>
bool run_until(sys::Loop& loop, Condition done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    loop.run_once(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace microvm::test
