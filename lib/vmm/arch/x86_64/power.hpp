// How a guest ends itself: ACPI sleep control register (S5), ACPI reset register, keyboard
// controller reset.
#pragma once

#include <cstdint>
#include <optional>

namespace microvm::vmm {

enum class PowerEvent { power_off, reset };

// Stateless towards the guest, so it has nothing to save. Any thread.
class Power {
 public:
  static constexpr uint8_t kS5SleepType = 5;  // as \_S5 in the DSDT says

  // Whether `port` is one of ours (layout.hpp).
  [[nodiscard]] static bool owns(uint16_t port) noexcept;
  [[nodiscard]] static uint8_t read(uint16_t port) noexcept;
  // The event a byte written to one of our ports means, if any. The vCPU must not run after it.
  [[nodiscard]] static std::optional<PowerEvent> write(uint16_t port, uint8_t value) noexcept;
};

}  // namespace microvm::vmm
