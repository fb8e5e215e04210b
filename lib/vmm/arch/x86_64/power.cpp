#include "vmm/arch/x86_64/power.hpp"

#include "vmm/arch/x86_64/layout.hpp"

namespace microvm::vmm {
namespace {

constexpr uint8_t kKeyboardPulseReset = 0xfe;  // 8042: pulse output line 0, the reset line
constexpr uint8_t kSleepEnable = 1u << 5;      // ACPI 6.4 §4.8.3.7
constexpr uint8_t kSleepTypeMask = 0x7;
constexpr unsigned kSleepTypeShift = 2;

}  // namespace

bool Power::owns(uint16_t port) noexcept {
  return port == layout::kSleepControlPort || port == layout::kSleepStatusPort ||
         port == layout::kResetPort || port == layout::kKeyboardPort;
}

// Zero everywhere: the keyboard controller is idle, no wake status.
uint8_t Power::read(uint16_t) noexcept {
  return 0;
}

std::optional<PowerEvent> Power::write(uint16_t port, uint8_t value) noexcept {
  if (port == layout::kKeyboardPort && value == kKeyboardPulseReset) return PowerEvent::reset;
  if (port == layout::kResetPort && value == layout::kResetValue) return PowerEvent::reset;
  const uint8_t sleep_type = value >> kSleepTypeShift & kSleepTypeMask;
  if (port == layout::kSleepControlPort && (value & kSleepEnable) != 0 &&
      sleep_type == kS5SleepType) {
    return PowerEvent::power_off;
  }
  return std::nullopt;
}

}  // namespace microvm::vmm
