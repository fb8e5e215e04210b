// The ACPI tables of the machine (ACPI 6.4): RSDP, XSDT, FADT (hardware-reduced), MADT, DSDT;
// MCFG where there is PCI (PCI Firmware 3.3 §4.1.2).
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::x86_64 {

struct VirtioMmioWindow {
  uint64_t address = 0;
  uint32_t size = 0;
  uint32_t gsi = 0;
};

struct AcpiConfig {
  uint16_t vcpus = 1;
  std::vector<VirtioMmioWindow> devices;  // announced as LNRO0005, in this order
  bool pci = false;                       // a host bridge, and MCFG for its one bus
};

// The tables as one block of bytes for `address`; the RSDP stands at its start.
[[nodiscard]] wire::Bytes build_acpi(const AcpiConfig& config, uint64_t address);

// Writes them to layout::kAcpiTables. The address of the RSDP.
[[nodiscard]] Result<uint64_t> write_acpi(GuestMemory& memory, const AcpiConfig& config);

}  // namespace microvm::vmm::x86_64
