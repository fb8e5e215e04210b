#include "vmm/arch/x86_64/power.hpp"

#include <doctest/doctest.h>

#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm::vmm;

TEST_CASE("power: S5 in the sleep control register is a power-off") {
  constexpr uint8_t kEnable = 0x20;
  constexpr uint8_t kS5 = Power::kS5SleepType << 2;
  CHECK(Power::write(layout::kSleepControlPort, kS5 | kEnable) == PowerEvent::power_off);
  CHECK_FALSE(Power::write(layout::kSleepControlPort, kS5));
  CHECK_FALSE(Power::write(layout::kSleepControlPort, 3 << 2 | kEnable));
  CHECK_FALSE(Power::write(layout::kSleepStatusPort, 0x80));
}

TEST_CASE("power: the reset register and the keyboard controller reset") {
  CHECK(Power::write(layout::kResetPort, layout::kResetValue) == PowerEvent::reset);
  CHECK_FALSE(Power::write(layout::kResetPort, 0));
  CHECK(Power::write(layout::kKeyboardPort, 0xfe) == PowerEvent::reset);
  CHECK_FALSE(Power::write(layout::kKeyboardPort, 0xd1));
}

TEST_CASE("power: knows its ports") {
  CHECK(Power::owns(layout::kSleepControlPort));
  CHECK(Power::owns(layout::kKeyboardPort));
  CHECK_FALSE(Power::owns(layout::kSerialPort));
  CHECK(Power::read(layout::kKeyboardPort) == 0);
}
