#include "vmm/arch/x86_64/bus.hpp"

#include <doctest/doctest.h>

#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm::vmm;
using x86_64::BusAccess;

namespace {

BusAccess find(uint64_t port, uint32_t size = 1) {
  kvm::Exit exit;
  exit.kind = kvm::Exit::Kind::pio_write;
  exit.address = port;
  exit.size = size;
  return x86_64::find_on_bus(exit);
}

}  // namespace

TEST_CASE("bus: the serial port's registers and the power ports are found, the rest is nothing") {
  for (uint16_t at = 0; at < layout::kSerialPorts; ++at) {
    const BusAccess access = find(layout::kSerialPort + at);
    CHECK(access.to == BusAccess::To::serial);
    CHECK(access.at == at);
  }
  for (const uint16_t port : {layout::kSleepControlPort, layout::kResetPort}) {
    CHECK(find(port).to == BusAccess::To::power);
    CHECK(find(port).at == port);
  }
  for (const uint64_t port : {0x0, 0x3f7, 0x400, 0xffff}) {
    CHECK(find(port).to == BusAccess::To::nothing);
  }
}

TEST_CASE("bus: an access wider than a byte reaches nothing") {
  for (const uint32_t size : {2u, 4u}) {
    CHECK(find(layout::kSerialPort, size).to == BusAccess::To::nothing);
    CHECK(find(layout::kResetPort, size).to == BusAccess::To::nothing);
  }
}
