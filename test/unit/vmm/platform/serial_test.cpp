#include "vmm/platform/serial.hpp"

#include <doctest/doctest.h>

#include <string>

#include "counting_irq.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

enum Register : uint16_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScr };

struct Port {
  test::CountingIrq irq;
  std::string printed;
  Serial serial{irq, [this](uint8_t byte) { printed.push_back(static_cast<char>(byte)); }};
};

}  // namespace

TEST_CASE("serial: bytes go to the sink and the transmitter is always free") {
  Port port;
  for (const char c : {'h', 'i', '\n'}) {
    CHECK((port.serial.read(kLsr) & 0x60) == 0x60);
    port.serial.write(kData, static_cast<uint8_t>(c));
  }
  CHECK(port.printed == "hi\n");
  CHECK(port.irq.count == 0);
}

TEST_CASE("serial: the divisor is no data") {
  Port port;
  port.serial.write(kLcr, 0x83);
  port.serial.write(kData, 0x01);
  port.serial.write(kIer, 0x02);
  CHECK(port.serial.read(kData) == 0x01);
  CHECK(port.serial.read(kIer) == 0x02);
  port.serial.write(kLcr, 0x03);
  CHECK(port.serial.read(kIer) == 0);
  CHECK(port.printed.empty());
  CHECK(port.irq.count == 0);
}

TEST_CASE("serial: enabling the transmitter interrupt raises it, reading the cause clears it") {
  Port port;
  CHECK(port.serial.read(kIir) == 0x01);
  port.serial.write(kIer, 0x02);
  CHECK(port.irq.count == 1);
  CHECK(port.serial.read(kIir) == 0x02);
  CHECK(port.serial.read(kIir) == 0x01);
  port.serial.write(kIer, 0x02);
  CHECK(port.irq.count == 1);
}

TEST_CASE("serial: a burst is one interrupt until its cause is read") {
  Port port;
  port.serial.write(kIer, 0x02);
  CHECK(port.serial.read(kIir) == 0x02);
  for (int i = 0; i < 16; ++i) port.serial.write(kData, 'x');
  CHECK(port.irq.count == 2);
  CHECK(port.serial.read(kIir) == 0x02);
  port.serial.write(kData, 'x');
  CHECK(port.irq.count == 3);
}

TEST_CASE("serial: looks like a 16550A to the kernel's tests") {
  Port port;
  port.serial.write(kScr, 0xa5);
  CHECK(port.serial.read(kScr) == 0xa5);
  port.serial.write(kIir, 0x01);
  CHECK((port.serial.read(kIir) & 0xc0) == 0xc0);
  port.serial.write(kMcr, 0x1a);
  CHECK((port.serial.read(kMsr) & 0xf0) == 0x90);
  port.serial.write(kData, 'x');
  CHECK(port.printed.empty());
  port.serial.write(kMcr, 0);
  CHECK((port.serial.read(kMsr) & 0xf0) == 0xb0);
  CHECK(port.serial.read(8) == 0xff);
}

TEST_CASE("serial: state goes through bytes") {
  Port from;
  from.serial.write(kLcr, 0x83);
  from.serial.write(kData, 3);
  from.serial.write(kLcr, 0x03);
  from.serial.write(kIer, 0x02);
  from.serial.write(kMcr, 0x0b);
  from.serial.write(kScr, 9);

  Port to;
  REQUIRE(to.serial.restore(from.serial.save()));
  CHECK(to.serial.save() == from.serial.save());
  CHECK(to.serial.read(kIir) == 0x02);
  CHECK(to.serial.read(kScr) == 9);
}

TEST_CASE("serial: state of another size is refused and changes nothing") {
  Port port;
  port.serial.write(kScr, 5);
  wire::Bytes body = port.serial.save();
  body.pop_back();
  const auto restored = port.serial.restore(body);
  REQUIRE_FALSE(restored);
  CHECK(restored.error().code == ErrorCode::corrupt);
  CHECK(port.serial.read(kScr) == 5);
}
