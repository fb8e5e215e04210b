// Where everything stands in the guest's address spaces. Snapshots hold these addresses: a change
// here is a new snapshot format.
#pragma once

#include <array>
#include <cstdint>

namespace microvm::vmm::layout {

// ---- low memory, used once at boot; the guest reclaims it ---------------------------------------
inline constexpr uint64_t kGdt = 0x500;
inline constexpr uint64_t kBootParams = 0x7000;  // the "zero page" of the Linux boot protocol
inline constexpr uint64_t kPageTables = 0x9000;  // PML4, PDPT, one PD: the first GiB, identity
inline constexpr uint64_t kBootStack = 0x8ff0;   // the kernel sets its own at once
inline constexpr uint64_t kCommandLine = 0x20000;
inline constexpr uint64_t kCommandLineMax = 2048;  // COMMAND_LINE_SIZE of x86, with its NUL
inline constexpr uint64_t kLowMemoryEnd = 0x9fc00;

// ---- reserved in the e820 map for the guest's whole life ----------------------------------------
inline constexpr uint64_t kAcpiTables = 0xe0000;  // RSDP first, then the tables
inline constexpr uint64_t kAcpiTablesSize = 0x10000;
inline constexpr uint64_t kGenerationIdPage = 0xf0000;  // the GUID stands at its start
inline constexpr uint64_t kHighMemoryStart = 0x100000;

// ---- MMIO, in the hole between 3 and 4 GiB ------------------------------------------------------
inline constexpr uint64_t kVirtioMmioBase = 0xd000'0000;
inline constexpr uint64_t kVirtioMmioStride = 0x1000;
inline constexpr uint64_t kPciMemory = 0xd100'0000;  // the window of the one PCI bus, for BARs
inline constexpr uint64_t kPciMemorySize = 0x10'0000;
inline constexpr uint64_t kPciBarStride = 0x8000;      // each device's place in it
inline constexpr uint64_t kPciConfig = 0xe000'0000;    // ECAM of the same bus
inline constexpr uint64_t kPciConfigSize = 0x10'0000;  // one bus
inline constexpr uint64_t kIoApic = 0xfec0'0000;
inline constexpr uint64_t kLocalApic = 0xfee0'0000;
inline constexpr uint64_t kTssAddress = 0xfffb'd000;          // 3 pages KVM wants on older Intel
inline constexpr uint64_t kIdentityMapAddress = 0xfffb'c000;  // 1 page, likewise

// ---- virtio slots: the number a device has everywhere (machine/device_set.cpp) ------------------
inline constexpr uint32_t kMaxVirtioSlots = 12;

[[nodiscard]] constexpr uint64_t virtio_mmio_address(uint32_t slot) {
  return kVirtioMmioBase + slot * kVirtioMmioStride;
}

// PCI device numbers; 0 is the host bridge's.
[[nodiscard]] constexpr uint32_t virtio_pci_device(uint32_t slot) {
  return slot + 1;
}
[[nodiscard]] constexpr uint64_t virtio_pci_address(uint32_t slot) {
  return kPciMemory + virtio_pci_device(slot) * kPciBarStride;
}

// What a message that is an interrupt is written to: the local APICs' page, in the low 4 GiB
// (Intel SDM 3 §11.11.1).
[[nodiscard]] constexpr bool is_message_address(uint64_t address) {
  return address >> 20 == 0xfee;
}

// ---- interrupts: pins of the one IOAPIC, all edge triggered, active high ------------------------
inline constexpr uint32_t kIoApicPins = 24;
inline constexpr uint32_t kSerialGsi = 4;
inline constexpr uint32_t kGenerationIdGsi = 9;
// By slot. The first eight took the pins that no PC ever had a device on; there are no more of
// them. The rest are lines of ISA devices that this machine has not and its FADT does not promise:
// 5 a sound card, 6 a floppy, 10 and 11 whatever was plugged in. (The 8259s have these lines as
// well, but are masked: boot.hpp.) Not 0, 1, 2, 8 and 12 to 15: kernels know timer, keyboard,
// cascade, clock, mouse, FPU and IDE there and have code for them; not 7: there an 8259 reports
// interrupts that went away.
inline constexpr std::array<uint32_t, kMaxVirtioSlots> kVirtioGsi = {16, 17, 18, 19, 20, 21,
                                                                     22, 23, 5,  6,  10, 11};

[[nodiscard]] constexpr uint32_t virtio_gsi(uint32_t slot) {
  return kVirtioGsi[slot];
}

// ---- ports --------------------------------------------------------------------------------------
inline constexpr uint16_t kSerialPort = 0x3f8;
inline constexpr uint16_t kSerialPorts = 8;
inline constexpr uint16_t kKeyboardPort = 0x64;       // only its reset command
inline constexpr uint16_t kSleepControlPort = 0x600;  // ACPI 6.4 §4.8.3.7
inline constexpr uint16_t kSleepStatusPort = 0x601;
inline constexpr uint16_t kResetPort = 0x602;  // ACPI 6.4 §4.8.3.6
inline constexpr uint8_t kResetValue = 0x01;

}  // namespace microvm::vmm::layout
