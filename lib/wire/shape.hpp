// What a machine is made of before it is known what will run in it, and the bounds of all that. The
// one Shape of the host's pool, the control wire and the snapshots.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <tuple>

namespace microvm::wire {

inline constexpr uint64_t kMemoryStep = uint64_t{2} << 20;  // memory is a multiple of it
inline constexpr uint64_t kMaxMemoryBytes = uint64_t{1} << 40;
inline constexpr uint16_t kMaxVcpus = 64;
inline constexpr uint16_t kMaxDisks = 4;
inline constexpr uint16_t kMaxNets = 1;

// How the guest reaches its virtio devices.
enum class TransportKind : uint8_t { mmio = 0, pci = 1 };

struct Shape {
  uint64_t memory_bytes = 0;       // the baseline: what is there from the start
  uint64_t peak_memory_bytes = 0;  // what it may grow to; 0: it stays at its baseline
  uint16_t vcpus = 0;
  uint16_t peak_vcpus = 0;  // likewise
  uint16_t disks = 0;
  uint16_t nets = 0;
  TransportKind transport = TransportKind::mmio;

  [[nodiscard]] constexpr uint64_t memory_limit() const {
    return peak_memory_bytes == 0 ? memory_bytes : peak_memory_bytes;
  }
  [[nodiscard]] constexpr uint16_t vcpu_limit() const {
    return peak_vcpus == 0 ? vcpus : peak_vcpus;
  }
  // Ordered by what they mean: a peak that is the baseline may be spelt out or not.
  friend constexpr std::strong_ordering operator<=>(const Shape& a, const Shape& b) {
    return a.meaning() <=> b.meaning();
  }
  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    return a.meaning() == b.meaning();
  }

 private:
  using Meaning =
      std::tuple<uint64_t, uint64_t, uint16_t, uint16_t, uint16_t, uint16_t, TransportKind>;
  [[nodiscard]] constexpr Meaning meaning() const {
    return {memory_bytes, memory_limit(), vcpus, vcpu_limit(), disks, nets, transport};
  }
};

[[nodiscard]] constexpr bool is_memory_size(uint64_t bytes) {
  return bytes >= kMemoryStep && bytes <= kMaxMemoryBytes && bytes % kMemoryStep == 0;
}

[[nodiscard]] constexpr bool is_vcpu_count(uint64_t vcpus) {
  return vcpus >= 1 && vcpus <= kMaxVcpus;
}

// Empty, or what of it is out of bounds and what to give instead.
[[nodiscard]] std::string shape_problem(const Shape& shape);

}  // namespace microvm::wire
