#include "host/worker/guest_clock.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

using namespace microvm::host;

TEST_CASE("guest clock: a guest trusts the tsc where its host does, and nowhere else") {
  CHECK(clock_arguments("tsc") == "tsc=reliable");
  CHECK(clock_arguments("hyperv_clocksource_tsc_page") == "tsc=reliable");
  for (const char* other : {"kvm-clock", "hpet", "acpi_pm", "xen", "refined-jiffies", "jiffies",
                            "tsc-early", "hyperv_clocksource_msr", "arch_sys_counter", ""}) {
    CHECK(clock_arguments(other) == "clocksource=kvm-clock");
  }
}

TEST_CASE("guest clock: the host's is what its kernel says") {
  const char* const kPath = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
  if (!std::filesystem::exists(kPath)) {
    CHECK(host_clocksource().empty());
    return;
  }
  std::string name;
  std::ifstream(kPath) >> name;
  CHECK(host_clocksource() == name);
}
