#include "vmm/arch/x86_64/acpi.hpp"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>

#include "vmm/arch/x86_64/layout.hpp"
#include "wire/shape.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::x86_64;

namespace {

constexpr uint64_t kAddress = layout::kAcpiTables;

template <class T>
T at(wire::ByteView bytes, size_t offset) {
  T value{};
  REQUIRE(offset + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

unsigned sum(wire::ByteView bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), 0u,
                         [](unsigned total, std::byte byte) {
                           return total + std::to_integer<unsigned>(byte);
                         }) &
         0xff;
}

using Tables = std::map<std::string, wire::ByteView>;

// Follows the pointers from the RSDP, as a guest does.
Tables find_tables(wire::ByteView block) {
  Tables tables;
  auto table_at = [&](uint64_t address) {
    const size_t offset = address - kAddress;
    const auto table = block.subspan(offset, at<uint32_t>(block, offset + 4));
    tables[std::string(wire::as_text(table.first(4)))] = table;
    return table;
  };
  const auto xsdt = table_at(at<uint64_t>(block, 24));
  for (size_t i = 36; i < xsdt.size(); i += 8) table_at(at<uint64_t>(xsdt, i));
  table_at(at<uint64_t>(tables["FACP"], 140));
  return tables;
}

AcpiConfig config_of(uint16_t vcpus, uint32_t devices) {
  AcpiConfig config{.vcpus = vcpus, .devices = {}};
  for (uint32_t slot = 0; slot < devices; ++slot) {
    config.devices.push_back(
        {layout::virtio_mmio_address(slot), layout::kVirtioMmioStride, layout::virtio_gsi(slot)});
  }
  return config;
}

// A folder for iasl's files, gone with the object.
struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string name = std::filesystem::temp_directory_path() / "acpi-test.XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::filesystem::remove_all(path); }
};

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

int iasl(const Scratch& scratch, const std::string& arguments) {
  const std::string command =
      "cd '" + scratch.path.string() + "' && iasl " + arguments + " >log 2>&1";
  return ::system(command.c_str());
}

// Disassembles a table and compiles the result again; the disassembly.
std::string round_trip(const Scratch& scratch, const std::string& name, wire::ByteView table) {
  std::ofstream(scratch.path / (name + ".dat"), std::ios::binary) << wire::as_text(table);
  CHECK_MESSAGE(iasl(scratch, "-d " + name + ".dat") == 0, text_of(scratch.path / "log"));
  const std::string source = text_of(scratch.path / (name + ".dsl"));
  CHECK_MESSAGE(iasl(scratch, name + ".dsl") == 0, text_of(scratch.path / "log"));
  CHECK(text_of(scratch.path / "log").find(" 0 Errors") != std::string::npos);
  return source;
}

}  // namespace

TEST_CASE("acpi: every checksum is right") {
  const wire::Bytes block = build_acpi(config_of(2, 6), kAddress);
  const wire::ByteView view(block);
  CHECK(wire::as_text(view.first(8)) == "RSD PTR ");
  CHECK(sum(view.first(20)) == 0);
  CHECK(sum(view.first(36)) == 0);
  const Tables tables = find_tables(view);
  CHECK(tables.size() == 4);
  for (const auto& [name, table] : tables) {
    CAPTURE(name);
    CHECK(sum(table) == 0);
  }
}

TEST_CASE("acpi: iasl takes every table apart and puts it together again") {
  const wire::Bytes block = build_acpi(config_of(4, 6), kAddress);
  const Scratch scratch;
  std::map<std::string, std::string> sources;
  for (const auto& [name, table] : find_tables(block)) {
    CAPTURE(name);
    sources[name] = round_trip(scratch, name, table);
    CHECK(sources[name].find("Incorrect checksum") == std::string::npos);
  }
  const std::string& dsdt = sources["DSDT"];
  for (const char* text :
       {"LNRO0005", "0xD0005000", "0x00000015", "ACPI0013", "Method (_EVT, 1, Serialized)",
        "Notify (\\_SB.VGEN, 0x80)", "VM_Gen_Counter", "PNP0501", "Name (_S5"}) {
    CHECK_MESSAGE(dsdt.find(text) != std::string::npos, text);
  }
  CHECK(sources["FACP"].find("Hardware Reduced (V5) : 1") != std::string::npos);
  CHECK(sources["FACP"].find("Reset Register Supported (V2) : 1") != std::string::npos);
}

TEST_CASE("acpi: a machine with PCI has a bridge, its windows and MCFG, and no LNRO0005") {
  const wire::Bytes block = build_acpi({.vcpus = 1, .devices = {}, .pci = true}, kAddress);
  const Scratch scratch;
  std::map<std::string, std::string> sources;
  const Tables tables = find_tables(block);
  for (const auto& [name, table] : tables) {
    CAPTURE(name);
    CHECK(sum(table) == 0);
    sources[name] = round_trip(scratch, name, table);
  }
  const std::string& dsdt = sources["DSDT"];
  for (const char* text :
       {"EisaId (\"PNP0A08\")", "EisaId (\"PNP0A03\")", "EisaId (\"PNP0C02\")", "WordBusNumber",
        "DWordMemory", "0xD1000000", "0xD10FFFFF", "0xE0000000"}) {
    CHECK_MESSAGE(dsdt.find(text) != std::string::npos, text);
  }
  CHECK(dsdt.find("LNRO0005") == std::string::npos);
  REQUIRE(tables.contains("MCFG"));
  const wire::ByteView mcfg = tables.at("MCFG");
  CHECK(mcfg.size() == 60);
  CHECK(at<uint64_t>(mcfg, 44) == layout::kPciConfig);
  CHECK(at<uint32_t>(mcfg, 52) == 0);  // segment 0, bus 0 to 0
}

TEST_CASE("acpi: the MADT has every vCPU and the IOAPIC") {
  const wire::Bytes block = build_acpi(config_of(wire::kMaxVcpus, 0), kAddress);
  const wire::ByteView madt = find_tables(block)["APIC"];
  size_t processors = 0;
  size_t offset = 44;
  for (; at<uint8_t>(madt, offset) == 0; offset += 8) {
    CHECK(at<uint8_t>(madt, offset + 3) == processors++);
    CHECK(at<uint32_t>(madt, offset + 4) == 1);
  }
  CHECK(processors == wire::kMaxVcpus);
  CHECK(at<uint8_t>(madt, offset) == 1);
  CHECK(at<uint32_t>(madt, offset + 4) == layout::kIoApic);
  CHECK(offset + 12 == madt.size());
}

TEST_CASE("acpi: the largest machine fits, more does not") {
  auto memory = GuestMemory::reserve(2 << 20);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  const auto rsdp = write_acpi(*memory, config_of(wire::kMaxVcpus, layout::kMaxVirtioSlots));
  REQUIRE(rsdp);
  CHECK(*rsdp == layout::kAcpiTables);
  CHECK_FALSE(write_acpi(*memory, config_of(1, 2000)));
}
