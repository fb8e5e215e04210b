#include "vmm/arch/x86_64/acpi.hpp"

#include <array>
#include <cstdio>
#include <numeric>
#include <string>
#include <string_view>

#include "vmm/arch/x86_64/aml.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/arch/x86_64/power.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm::x86_64 {
namespace {

using wire::Bytes;
using wire::ByteWriter;

constexpr std::string_view kOemId = "MICROV";
constexpr std::string_view kOemTableId = "MICROVM ";
constexpr size_t kTableAlignment = 16;
constexpr size_t kRsdpSize = 36;
static_assert(wire::kMaxVcpus < 0xff);  // APIC ids are vCPU indices, 0xff is everybody

void set_checksum(Bytes& table, size_t at, size_t length) {
  table[at] = std::byte{0};
  const auto sum = std::accumulate(
      table.begin(), table.begin() + static_cast<ptrdiff_t>(length), 0u,
      [](unsigned total, std::byte byte) { return total + std::to_integer<unsigned>(byte); });
  table[at] = static_cast<std::byte>(0u - sum);
}

// §5.2.6 System Description Table Header
Bytes make_table(std::string_view signature, uint8_t revision, const Bytes& body) {
  constexpr uint32_t kHeaderSize = 36;
  constexpr size_t kChecksumOffset = 9;
  ByteWriter out;
  out.put_bytes(wire::as_bytes(signature));
  out.put(static_cast<uint32_t>(kHeaderSize + body.size()));
  out.put(revision);
  out.put<uint8_t>(0);  // checksum, below
  out.put_bytes(wire::as_bytes(kOemId));
  out.put_bytes(wire::as_bytes(kOemTableId));
  out.put<uint32_t>(1);  // OEM revision
  out.put_bytes(wire::as_bytes("MVM "));
  out.put<uint32_t>(1);  // creator revision
  out.put_bytes(body);
  Bytes table = out.take();
  set_checksum(table, kChecksumOffset, table.size());
  return table;
}

// §5.2.3.2 Generic Address Structure: one byte-wide port.
void put_port(ByteWriter& out, uint16_t port) {
  constexpr uint8_t kSystemIo = 1;
  constexpr uint8_t kByteAccess = 1;
  out.put(kSystemIo);
  out.put<uint8_t>(8);  // bits
  out.put<uint8_t>(0);  // bit offset
  out.put(kByteAccess);
  out.put<uint64_t>(port);
}

void put_zeros(ByteWriter& out, size_t count) {
  out.put_bytes(Bytes(count));
}

// §5.2.9, hardware-reduced: the fixed registers are all absent.
Bytes make_fadt(uint64_t dsdt) {
  constexpr uint16_t kNoVga = 1u << 2, kNoCmosRtc = 1u << 5;  // 8042 and legacy devices: bits clear
  constexpr uint32_t kWbinvd = 1u << 0, kPowerButtonIsDevice = 1u << 4,
                     kSleepButtonIsDevice = 1u << 5;
  constexpr uint32_t kResetRegister = 1u << 10, kHardwareReduced = 1u << 20;
  ByteWriter out;
  put_zeros(out, 109 - 36);
  out.put<uint16_t>(kNoVga | kNoCmosRtc);
  put_zeros(out, 1);
  out.put<uint32_t>(kWbinvd | kPowerButtonIsDevice | kSleepButtonIsDevice | kResetRegister |
                    kHardwareReduced);
  put_port(out, layout::kResetPort);
  out.put(layout::kResetValue);
  out.put<uint16_t>(0);  // ARM_BOOT_ARCH
  out.put<uint8_t>(4);   // FADT minor version: ACPI 6.4
  out.put<uint64_t>(0);  // X_FIRMWARE_CTRL: hardware-reduced needs no FACS
  out.put(dsdt);
  put_zeros(out, size_t{8} * 12);  // X_PM1a_EVT_BLK … X_GPE1_BLK
  put_port(out, layout::kSleepControlPort);
  put_port(out, layout::kSleepStatusPort);
  out.put_bytes(wire::as_bytes("MICROVM "));  // hypervisor vendor identity
  return make_table("FACP", 6, out.bytes());
}

// §5.2.12: a local APIC per vCPU, one IOAPIC, no 8259s worth knowing (PCAT_COMPAT clear).
Bytes make_madt(uint16_t vcpus) {
  ByteWriter out;
  out.put(static_cast<uint32_t>(layout::kLocalApic));
  out.put<uint32_t>(0);  // flags
  for (uint16_t i = 0; i < vcpus; ++i) {
    out.put<uint8_t>(0);  // processor local APIC
    out.put<uint8_t>(8);
    out.put(static_cast<uint8_t>(i));  // ACPI processor UID
    out.put(static_cast<uint8_t>(i));  // APIC id
    out.put<uint32_t>(1);              // enabled
  }
  out.put<uint8_t>(1);  // IOAPIC
  out.put<uint8_t>(12);
  out.put<uint16_t>(0);  // id 0, reserved
  out.put(static_cast<uint32_t>(layout::kIoApic));
  out.put<uint32_t>(0);  // its first GSI
  return make_table("APIC", 5, out.bytes());
}

Bytes virtio_device(size_t index, const VirtioMmioWindow& window) {
  std::array<char, 5> name{};
  std::snprintf(name.data(), name.size(), "V%03u", static_cast<unsigned>(index % 1000));
  return aml::device(
      name.data(),
      {aml::name("_HID", aml::string("LNRO0005")), aml::name("_UID", aml::integer(index)),
       aml::name("_CCA", aml::integer(1)),
       aml::name("_CRS", aml::resources(
                             {aml::memory_range(static_cast<uint32_t>(window.address), window.size),
                              aml::edge_interrupt(window.gsi)}))});
}

// The bus, what of the address space is its devices', and, as the place of no device, where their
// configuration is: a kernel trusts MCFG for what a motherboard resource says is taken.
Bytes pci_devices() {
  const auto window = static_cast<uint32_t>(layout::kPciMemory);
  const auto window_size = static_cast<uint32_t>(layout::kPciMemorySize);
  const Bytes bridge = aml::device(
      "PCI0",
      {aml::name("_HID", aml::eisa_id("PNP0A08")), aml::name("_CID", aml::eisa_id("PNP0A03")),
       aml::name("_UID", aml::integer(0)), aml::name("_SEG", aml::integer(0)),
       aml::name("_BBN", aml::integer(0)), aml::name("_CCA", aml::integer(1)),
       aml::name("_CRS",
                 aml::resources({aml::bus_range(0, 0), aml::memory_window(window, window_size)}))});
  const Bytes board = aml::device(
      "MBRD", {aml::name("_HID", aml::eisa_id("PNP0C02")), aml::name("_UID", aml::integer(0)),
               aml::name("_CRS", aml::resources({aml::memory_range(
                                     static_cast<uint32_t>(layout::kPciConfig),
                                     static_cast<uint32_t>(layout::kPciConfigSize))}))});
  return aml::concatenate({bridge, board});
}

Bytes serial_device() {
  return aml::device(
      "COM1", {aml::name("_HID", aml::string("PNP0501")), aml::name("_UID", aml::integer(0)),
               aml::name("_CRS", aml::resources({aml::port_range(layout::kSerialPort,
                                                                 uint8_t{layout::kSerialPorts}),
                                                 aml::edge_interrupt(layout::kSerialGsi)}))});
}

// The VM generation counter and the generic event device (§5.6.9) that notifies it.
Bytes generation_id_devices() {
  const Bytes counter = aml::device(
      "VGEN",
      {aml::name("_HID", aml::string("MVMG0001")), aml::name("_CID", aml::string("VM_Gen_Counter")),
       aml::name("_DDN", aml::string("VM_Gen_Counter")),
       aml::name("ADDR",
                 aml::package({aml::integer(layout::kGenerationIdPage), aml::integer(0)}))});
  const Bytes events = aml::device(
      "GED_", {aml::name("_HID", aml::string("ACPI0013")), aml::name("_UID", aml::integer(0)),
               aml::name("_CRS", aml::resources({aml::edge_interrupt(layout::kGenerationIdGsi)})),
               aml::method("_EVT", 1, {aml::notify("\\_SB_.VGEN", 0x80)})});
  return aml::concatenate({counter, events});
}

Bytes make_dsdt(const AcpiConfig& config) {
  Bytes devices = aml::concatenate({serial_device(), generation_id_devices()});
  for (size_t i = 0; i < config.devices.size(); ++i) {
    devices = aml::concatenate({devices, virtio_device(i, config.devices[i])});
  }
  if (config.pci) devices = aml::concatenate({devices, pci_devices()});
  const Bytes zero = aml::integer(0);
  const Bytes s5 =
      aml::name("_S5_", aml::package({aml::integer(Power::kS5SleepType), zero, zero, zero}));
  return make_table("DSDT", 2, aml::concatenate({aml::scope("\\_SB_", {devices}), s5}));
}

// PCI Firmware 3.3 §4.1.2: segment 0, bus 0.
Bytes make_mcfg() {
  ByteWriter out;
  out.put<uint64_t>(0);
  out.put(layout::kPciConfig);
  out.put<uint16_t>(0);
  out.put<uint8_t>(0);
  out.put<uint8_t>(0);
  out.put<uint32_t>(0);
  return make_table("MCFG", 1, out.bytes());
}

Bytes make_xsdt(const std::vector<uint64_t>& tables) {
  ByteWriter out;
  for (const uint64_t address : tables) out.put(address);
  return make_table("XSDT", 1, out.bytes());
}

// §5.2.5.3
Bytes make_rsdp(uint64_t xsdt) {
  ByteWriter out;
  out.put_bytes(wire::as_bytes("RSD PTR "));
  out.put<uint8_t>(0);  // checksum of the first 20 bytes
  out.put_bytes(wire::as_bytes(kOemId));
  out.put<uint8_t>(2);   // revision
  out.put<uint32_t>(0);  // no RSDT
  out.put(static_cast<uint32_t>(kRsdpSize));
  out.put(xsdt);
  out.put<uint8_t>(0);  // checksum of all
  put_zeros(out, 3);
  Bytes rsdp = out.take();
  set_checksum(rsdp, 8, 20);
  set_checksum(rsdp, 32, kRsdpSize);
  return rsdp;
}

// Tables one behind the other; the RSDP's place at the start is filled last.
class Block {
 public:
  explicit Block(uint64_t address) : address_(address), bytes_(kRsdpSize) {}
  uint64_t add(const Bytes& table) {
    bytes_.resize((bytes_.size() + kTableAlignment - 1) / kTableAlignment * kTableAlignment);
    const uint64_t at = address_ + bytes_.size();
    bytes_.insert(bytes_.end(), table.begin(), table.end());
    return at;
  }
  Bytes finish(const Bytes& rsdp) {
    std::copy(rsdp.begin(), rsdp.end(), bytes_.begin());
    return std::move(bytes_);
  }

 private:
  uint64_t address_;
  Bytes bytes_;
};

}  // namespace

Bytes build_acpi(const AcpiConfig& config, uint64_t address) {
  Block block(address);
  const uint64_t dsdt = block.add(make_dsdt(config));
  std::vector<uint64_t> tables = {block.add(make_fadt(dsdt)), block.add(make_madt(config.vcpus))};
  if (config.pci) tables.push_back(block.add(make_mcfg()));
  const uint64_t xsdt = block.add(make_xsdt(tables));
  return block.finish(make_rsdp(xsdt));
}

Result<uint64_t> write_acpi(GuestMemory& memory, const AcpiConfig& config) {
  const Bytes tables = build_acpi(config, layout::kAcpiTables);
  if (tables.size() > layout::kAcpiTablesSize || !memory.write_bytes(layout::kAcpiTables, tables)) {
    return base::fail(ErrorCode::invalid_argument, "acpi tables do not fit: fewer devices");
  }
  return layout::kAcpiTables;
}

}  // namespace microvm::vmm::x86_64
