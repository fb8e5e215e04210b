// The MSI-X table of a PCI function (PCI Local Bus 3.0 §6.8.2): where the guest wants each of its
// interrupts, and which are held back. Everything in it is the guest's word, and any is as good as
// another: what an address means is for whoever delivers it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

// An interrupt as a write: what a PCI device sends instead of pulling a line.
struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;
  bool operator==(const MsiMessage&) const = default;
};

// What delivers them: in the worker an irqfd for each vector, in tests a counter.
class MessageInterrupts {
 public:
  virtual ~MessageInterrupts() = default;
  // From here on the vector's interrupt is this message. Until then it has none.
  virtual void route(uint16_t vector, const MsiMessage& message) = 0;
  virtual void raise(uint16_t vector) noexcept = 0;
};

// Not thread-safe: the transport's mutex guards it.
class MsixTable {
 public:
  static constexpr uint32_t kEntryBytes = 16;
  static constexpr uint16_t kMaxVectors = 64;  // bits of pending_
  static constexpr uint16_t kNoVector = 0xffff;

  MsixTable(MessageInterrupts& out, uint16_t vectors);

  [[nodiscard]] uint16_t vectors() const { return static_cast<uint16_t>(entries_.size()); }
  [[nodiscard]] bool enabled() const { return enabled_; }
  [[nodiscard]] bool is_vector(uint32_t vector) const { return vector < entries_.size(); }

  // The guest's accesses: words of 4 or 8 bytes at their places. Others read as zero and change
  // nothing. A message that is changed while its vector may be sent holds at once.
  void read(uint64_t offset, std::span<std::byte> data) const;
  void write(uint64_t offset, std::span<const std::byte> data);
  void read_pending(uint64_t offset, std::span<std::byte> data) const;
  // The capability's two bits.
  void set_control(bool enabled, bool all_masked);

  // Sends the vector's message; while it is masked it is pending, while MSI-X is off or where there
  // is no such vector it comes to nothing.
  void raise(uint16_t vector);
  void forget_pending() { pending_ = 0; }

  // Format: see pci_transport.hpp. restore() is for a new table, before its control is set.
  void save(wire::ByteWriter& out) const;
  void restore(wire::ByteReader& in);

 private:
  struct Entry {
    MsiMessage message;
    bool masked = true;
    MsiMessage routed;  // what is known outside
    bool is_routed = false;
  };
  [[nodiscard]] uint32_t word(uint64_t index) const;
  void set_word(uint64_t index, uint32_t value);
  [[nodiscard]] bool may_send(const Entry& entry) const {
    return enabled_ && !all_masked_ && !entry.masked;
  }
  // After any change: makes known where a vector that may be sent goes to, and sends what waited.
  void settle(uint16_t vector);

  MessageInterrupts& out_;
  std::vector<Entry> entries_;
  uint64_t pending_ = 0;
  bool enabled_ = false;
  bool all_masked_ = false;
};

}  // namespace microvm::vmm
