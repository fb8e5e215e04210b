// A 16550A without input: the guest's kernel console. Registers as in the PC16550D data sheet.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

#include "base/error.hpp"
#include "vmm/virtio/irq.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

// read() and write() from any vCPU thread.
class Serial {
 public:
  // Gets every byte the guest sends, on the vCPU's thread. Must not block.
  using Sink = std::function<void(uint8_t)>;
  Serial(Irq& irq, Sink sink) : irq_(irq), sink_(std::move(sink)) {}

  // One byte access to register `offset` (0…7).
  [[nodiscard]] uint8_t read(uint16_t offset) noexcept;
  void write(uint16_t offset, uint8_t value);

  // The body of state::SectionId::serial.
  static constexpr uint16_t kStateVersion = 1;
  [[nodiscard]] wire::Bytes save() const;
  [[nodiscard]] Result<void> restore(wire::ByteView body);

 private:
  struct Registers {
    uint8_t ier = 0, lcr = 0, mcr = 0, scr = 0, fcr = 0;
    uint16_t divisor = 12;  // 9600 baud, what a PC starts with
    bool transmitter_empty_pending = false;
  };
  [[nodiscard]] bool divisor_selected() const { return (regs_.lcr & 0x80) != 0; }
  void transmit(uint8_t value);
  void set_interrupts(uint8_t value);
  uint8_t identify_interrupt();
  [[nodiscard]] uint8_t modem_status() const;

  Irq& irq_;
  Sink sink_;
  mutable std::mutex mutex_;
  Registers regs_;
};

}  // namespace microvm::vmm
