#include "vmm/platform/serial.hpp"

namespace microvm::vmm {
namespace {

enum Register : uint16_t {
  kData = 0,    // divisor low with DLAB
  kIer = 1,     // divisor high with DLAB
  kIirFcr = 2,  // read IIR, write FCR
  kLcr = 3,
  kMcr = 4,
  kLsr = 5,
  kMsr = 6,
  kScr = 7,
};

constexpr uint8_t kIerTransmitterEmpty = 0x02;
constexpr uint8_t kIerMask = 0x0f;
constexpr uint8_t kIirNone = 0x01;
constexpr uint8_t kIirTransmitterEmpty = 0x02;
constexpr uint8_t kIirFifos = 0xc0;
constexpr uint8_t kFcrEnable = 0x01;
constexpr uint8_t kLsrTransmitterIdle = 0x60;  // THRE and TEMT: bytes leave at once
constexpr uint8_t kMcrLoopback = 0x10;
constexpr uint8_t kMcrMask = 0x1f;
constexpr uint8_t kMsrCtsDsrDcd = 0xb0;

}  // namespace

uint8_t Serial::read(uint16_t offset) noexcept {
  const std::scoped_lock lock(mutex_);
  switch (offset) {
    case kData:  // no input ever
      return divisor_selected() ? static_cast<uint8_t>(regs_.divisor) : 0;
    case kIer:
      return divisor_selected() ? static_cast<uint8_t>(regs_.divisor >> 8) : regs_.ier;
    case kIirFcr:
      return identify_interrupt();
    case kLcr:
      return regs_.lcr;
    case kMcr:
      return regs_.mcr;
    case kLsr:
      return kLsrTransmitterIdle;
    case kMsr:
      return modem_status();
    case kScr:
      return regs_.scr;
    default:
      return 0xff;
  }
}

void Serial::write(uint16_t offset, uint8_t value) {
  const std::scoped_lock lock(mutex_);
  switch (offset) {
    case kData:
      if (divisor_selected()) {
        regs_.divisor = static_cast<uint16_t>((regs_.divisor & 0xff00) | value);
      } else {
        transmit(value);
      }
      break;
    case kIer:
      if (divisor_selected()) {
        regs_.divisor = static_cast<uint16_t>((regs_.divisor & 0x00ff) | value << 8);
      } else {
        set_interrupts(value);
      }
      break;
    case kIirFcr:
      regs_.fcr = value & kFcrEnable;
      break;
    case kLcr:
      regs_.lcr = value;
      break;
    case kMcr:
      regs_.mcr = value & kMcrMask;
      break;
    case kScr:
      regs_.scr = value;
      break;
    default:  // LSR and MSR are read-only
      break;
  }
}

// The byte leaves at once, so the holding register is empty again. An edge whose cause the guest
// has not read yet stands for the further bytes too.
void Serial::transmit(uint8_t value) {
  if ((regs_.mcr & kMcrLoopback) != 0) return;
  sink_(value);
  if ((regs_.ier & kIerTransmitterEmpty) == 0 || regs_.transmitter_empty_pending) return;
  regs_.transmitter_empty_pending = true;
  irq_.raise();
}

// Enabling the interrupt while the holding register is empty raises it: drivers count on that.
void Serial::set_interrupts(uint8_t value) {
  const bool newly_enabled = (value & ~regs_.ier & kIerTransmitterEmpty) != 0;
  regs_.ier = value & kIerMask;
  if ((regs_.ier & kIerTransmitterEmpty) == 0) regs_.transmitter_empty_pending = false;
  if (!newly_enabled) return;
  regs_.transmitter_empty_pending = true;
  irq_.raise();
}

// Reading the cause clears it.
uint8_t Serial::identify_interrupt() {
  const uint8_t fifos = (regs_.fcr & kFcrEnable) != 0 ? kIirFifos : 0;
  const uint8_t cause = regs_.transmitter_empty_pending ? kIirTransmitterEmpty : kIirNone;
  regs_.transmitter_empty_pending = false;
  return fifos | cause;
}

// In loopback the outputs of MCR appear as inputs; the kernel's autoconfiguration tests that.
uint8_t Serial::modem_status() const {
  if ((regs_.mcr & kMcrLoopback) == 0) return kMsrCtsDsrDcd;
  const unsigned mcr = regs_.mcr;
  return static_cast<uint8_t>((mcr & 0x2) << 3 | (mcr & 0x1) << 5 | (mcr & 0x4) << 4 |
                              (mcr & 0x8) << 4);
}

wire::Bytes Serial::save() const {
  const std::scoped_lock lock(mutex_);
  wire::ByteWriter out;
  out.put(regs_.ier);
  out.put(regs_.lcr);
  out.put(regs_.mcr);
  out.put(regs_.scr);
  out.put(regs_.fcr);
  out.put(regs_.divisor);
  out.put(static_cast<uint8_t>(regs_.transmitter_empty_pending));
  return out.take();
}

Result<void> Serial::restore(wire::ByteView body) {
  wire::ByteReader in(body);
  Registers regs;
  regs.ier = in.get<uint8_t>() & kIerMask;
  regs.lcr = in.get<uint8_t>();
  regs.mcr = in.get<uint8_t>() & kMcrMask;
  regs.scr = in.get<uint8_t>();
  regs.fcr = in.get<uint8_t>() & kFcrEnable;
  regs.divisor = in.get<uint16_t>();
  regs.transmitter_empty_pending = in.get<uint8_t>() != 0;
  if (!in.done()) return base::fail(ErrorCode::corrupt, "snapshot: serial state has a wrong size");
  const std::scoped_lock lock(mutex_);
  regs_ = regs;
  // Its edge may have been on the way to the interrupt chips when they were saved. A second one
  // does no harm, a missing one stops the driver for good.
  if (regs_.transmitter_empty_pending) irq_.raise();
  return {};
}

}  // namespace microvm::vmm
