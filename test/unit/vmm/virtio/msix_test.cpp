#include "vmm/virtio/msix.hpp"

#include <doctest/doctest.h>

#include "vmm/virtio/mock_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using vmm::MsiMessage;
using vmm::MsixTable;

namespace {

struct Fixture {
  void put(uint64_t offset, uint32_t value) {
    table.write(offset, std::as_bytes(std::span(&value, 1)));
  }
  uint32_t get(uint64_t offset) {
    uint32_t value = 0;
    table.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  uint64_t pending() {
    uint64_t value = 0;
    table.read_pending(0, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void unmask(uint16_t vector, uint32_t address = kMessageAddress) {
    put(vector * 16u, address);
    put(vector * 16u + 8, message_of(vector).data);
    put(vector * 16u + 12, 0);
  }
  wire::Bytes saved() const {
    wire::ByteWriter body;
    table.save(body);
    return body.take();
  }

  CountingMessages out;
  MsixTable table{out, 3};
};

bool restores(const wire::Bytes& bytes, uint16_t vectors = 3) {
  CountingMessages out;
  MsixTable table(out, vectors);
  wire::ByteReader in(bytes);
  table.restore(in);
  return in.done();
}

}  // namespace

TEST_CASE("msix: a vector is masked and goes nowhere until the guest says otherwise") {
  Fixture t;
  CHECK(t.get(12) == 1);
  t.table.raise(0);
  CHECK(t.pending() == 0);  // MSI-X is off: nothing waits
  t.table.set_control(true, false);
  t.table.raise(1);
  CHECK(t.pending() == 2);
  CHECK(t.out.count == 0);
  CHECK(t.out.routes.empty());
  t.unmask(1);
  REQUIRE(t.out.routes.size() == 1);  // known before it is sent
  CHECK(t.out.routes[0] == std::pair<uint16_t, MsiMessage>(1, message_of(1)));
  CHECK(t.out.of[1] == 1);
  CHECK(t.pending() == 0);
  t.table.raise(1);
  CHECK(t.out.of[1] == 2);
  CHECK(t.out.routes.size() == 1);
}

TEST_CASE("msix: a masked function holds every vector back") {
  Fixture t;
  t.unmask(0);
  t.unmask(2);
  t.table.set_control(true, true);
  t.table.raise(0);
  t.table.raise(2);
  t.table.raise(2);
  CHECK(t.pending() == 5);
  CHECK(t.out.count == 0);
  t.table.set_control(true, false);
  CHECK(t.out.of[0] == 1);
  CHECK(t.out.of[2] == 1);
  CHECK(t.pending() == 0);
}

TEST_CASE("msix: a message that changes is made known, whether masked meanwhile or not") {
  Fixture t;
  t.table.set_control(true, false);
  t.unmask(0);
  t.put(0, kMessageAddress + 0x1000);
  CHECK(t.out.routes.back().second.address == kMessageAddress + 0x1000);
  t.put(12, 1);
  const size_t known = t.out.routes.size();
  t.put(8, 7);
  t.put(4, 1);
  CHECK(t.out.routes.size() == known);
  t.put(12, 0);
  CHECK(t.out.routes.size() == known + 1);
  CHECK(t.out.routes.back().second == MsiMessage{(1ull << 32) + kMessageAddress + 0x1000, 7});
  t.put(12, 1);
  t.put(12, 0);  // as it was
  CHECK(t.out.routes.size() == known + 1);
}

TEST_CASE("msix: accesses of any width, at any place") {
  Fixture t;
  std::array<std::byte, 8> bytes{};
  const auto fill = [&](unsigned value) { bytes.fill(static_cast<std::byte>(value)); };
  for (const size_t width : {1u, 2u, 4u, 8u}) {
    for (uint64_t offset = 0; offset < 0x1000; ++offset) {
      fill(0xff);
      t.table.write(offset, std::span(bytes).first(width));
      t.table.read(offset, std::span(bytes).first(width));
      t.table.read_pending(offset, std::span(bytes).first(width));
    }
  }
  CHECK(t.get(0) == ~3u);
  CHECK(t.get(12) == 1);
  CHECK(t.get(3 * 16) == 0);  // behind the last
  fill(0);
  t.table.write(0, std::span(bytes).first(2));
  CHECK(t.get(0) == ~3u);
  t.table.write(0, bytes);  // both halves of the address
  CHECK(t.get(0) == 0);
  CHECK(t.get(4) == 0);
  fill(0xff);
  t.table.read(2, std::span(bytes).first(4));
  CHECK(bytes[0] == std::byte{0});
  t.table.raise(3);
  t.table.raise(MsixTable::kNoVector);
}

TEST_CASE("msix: goes on after a restore with its messages, masks and what waits") {
  Fixture t;
  t.table.set_control(true, false);
  t.unmask(0);
  t.put(16 + 8, 9);
  t.table.raise(1);
  const wire::Bytes bytes = t.saved();

  CountingMessages out;
  MsixTable table(out, 3);
  wire::ByteReader in(bytes);
  table.restore(in);
  REQUIRE(in.done());
  CHECK(out.routes.empty());
  table.set_control(true, false);
  REQUIRE(out.routes.size() == 1);
  CHECK(out.routes[0] == std::pair<uint16_t, MsiMessage>(0, message_of(0)));
  CHECK(out.count == 0);
  const uint32_t unmasked = 0;
  table.write(16 + 12, std::as_bytes(std::span(&unmasked, 1)));
  CHECK(out.of[1] == 1);
}

TEST_CASE("msix: a saved table that does not fit is refused") {
  const wire::Bytes bytes = Fixture().saved();
  REQUIRE(restores(bytes));
  CHECK_FALSE(restores(bytes, 4));
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(restores({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)}));
  }
  wire::Bytes masked = bytes;
  masked[2 + 12] = std::byte{2};
  CHECK_FALSE(restores(masked));
  wire::Bytes waits = bytes;
  waits[bytes.size() - 8] = std::byte{8};  // a fourth vector
  CHECK_FALSE(restores(waits));
}
