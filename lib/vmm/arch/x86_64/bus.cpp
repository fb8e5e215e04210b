#include "vmm/arch/x86_64/bus.hpp"

#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/power.hpp"

namespace microvm::vmm::x86_64 {

BusAccess find_on_bus(const kvm::Exit& exit) {
  const auto port = static_cast<uint16_t>(exit.address);
  if (exit.size != 1) return {};
  if (port >= layout::kSerialPort && port < layout::kSerialPort + layout::kSerialPorts) {
    return {BusAccess::To::serial, static_cast<uint16_t>(port - layout::kSerialPort)};
  }
  if (Power::owns(port)) return {BusAccess::To::power, port};
  return {};
}

}  // namespace microvm::vmm::x86_64
