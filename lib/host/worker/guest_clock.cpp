#include "host/worker/guest_clock.hpp"

#include <algorithm>
#include <array>

#include "host/store/files.hpp"

namespace microvm::host {
namespace {

constexpr const char* kClocksourceFile =
    "/sys/devices/system/clocksource/clocksource0/current_clocksource";
constexpr size_t kMaxNameBytes = 64;

// Below Hyper-V the kernel reads the TSC by way of a page that it trusts. KVM counts both.
constexpr std::array<std::string_view, 2> kTrustedTsc = {"tsc", "hyperv_clocksource_tsc_page"};

}  // namespace

std::string host_clocksource() {
  std::string name = read_text_file(kClocksourceFile, kMaxNameBytes).value_or("");
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

std::string clock_arguments(std::string_view host_clocksource) {
  const bool trusted = std::ranges::count(kTrustedTsc, host_clocksource) != 0;
  return trusted ? "tsc=reliable" : "clocksource=kvm-clock";
}

}  // namespace microvm::host
