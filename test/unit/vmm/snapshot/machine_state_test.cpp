#include "vmm/snapshot/machine_state.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using wire::Shape;
using namespace vmm::snapshot;

namespace {

constexpr Shape kPlain{.memory_bytes = 512u << 20, .vcpus = 2, .disks = 1};
constexpr Shape kGrowing{.memory_bytes = 512u << 20,
                         .peak_memory_bytes = 2048ull << 20,
                         .vcpus = 2,
                         .peak_vcpus = 8,
                         .disks = 1};

constexpr Shape kOnPci{
    .memory_bytes = 512u << 20, .vcpus = 2, .disks = 1, .transport = wire::TransportKind::pci};

constexpr uint32_t kSlots = 0b1001'0011'0001;

// As the library before version 2 wrote it.
wire::Bytes version_1(const Shape& shape) {
  wire::ByteWriter out;
  out.put(shape.memory_bytes);
  out.put(shape.vcpus);
  out.put(shape.disks);
  return out.take();
}

// Of version 2 as it was before there was another transport.
wire::Bytes before_pci(const MachineState& state) {
  wire::Bytes body = encode_machine(state);
  body.pop_back();
  return body;
}

ErrorCode code_of(wire::ByteView body, uint16_t version) {
  const auto shape = decode_machine(body, version);
  return shape ? ErrorCode{} : shape.error().code;
}

}  // namespace

TEST_CASE("machine state: both versions are read") {
  for (const Shape& shape : {kPlain, kGrowing, kOnPci}) {
    const auto read = decode_machine(encode_machine({shape, 0}), 2);
    REQUIRE(read);
    CHECK(read->shape == shape);
  }
  const auto old = decode_machine(version_1(kPlain), 1);
  REQUIRE(old);
  CHECK(old->shape == kPlain);
  CHECK(old->shape.memory_limit() == 512u << 20);
  CHECK(old->shape.vcpu_limit() == 2);
  CHECK(old->shape.nets == 0);
}

TEST_CASE("machine state: the slots that the guest knows, or those of before there was a list") {
  const auto read = decode_machine(encode_machine({kPlain, kSlots}), 2);
  REQUIRE(read);
  CHECK(read->slots == kSlots);
  Shape disks = kPlain;
  for (disks.disks = 0; disks.disks <= wire::kMaxDisks; ++disks.disks) {
    const uint32_t expected = 0b11'0000u | ((1u << disks.disks) - 1);
    CHECK(decode_machine(version_1(disks), 1)->slots == expected);
    CHECK(decode_machine(encode_machine({disks, 0}), 2)->slots == expected);
  }
}

TEST_CASE("machine state: truncations and versions that never were are corrupt") {
  for (uint16_t version : {uint16_t{1}, uint16_t{2}}) {
    const auto body = version == 1 ? version_1(kPlain) : before_pci({kPlain, kSlots});
    for (size_t size = 0; size < body.size(); ++size) {
      CHECK(code_of(wire::ByteView(body).first(size), version) == ErrorCode::corrupt);
    }
  }
  CHECK(code_of(version_1(kPlain), 0) == ErrorCode::corrupt);
  CHECK(code_of(version_1(kPlain), 2) == ErrorCode::corrupt);
  CHECK(code_of(encode_machine({kPlain, kSlots}), 1) == ErrorCode::corrupt);
}

TEST_CASE("machine state: where it says nothing of a transport it is mmio") {
  const auto read = decode_machine(before_pci({kPlain, kSlots}), 2);
  REQUIRE(read);
  CHECK(read->shape == kPlain);
  CHECK(read->slots == kSlots);
  auto unknown = encode_machine({kPlain, kSlots});
  unknown.back() = std::byte{2};
  CHECK(code_of(unknown, 2) == ErrorCode::unsupported);
}

TEST_CASE("machine state: a longer body is read while what is new in it is zero") {
  auto body = encode_machine({kGrowing, kSlots});
  body.resize(body.size() + 12);
  const auto read = decode_machine(body, 2);
  REQUIRE(read);
  CHECK(read->shape == kGrowing);
  body.back() = std::byte{1};
  CHECK(code_of(body, 2) == ErrorCode::unsupported);
}

TEST_CASE("machine state: a flipped bit is refused or another shape within the bounds") {
  for (uint16_t version : {uint16_t{1}, uint16_t{2}}) {
    const auto whole = version == 1 ? version_1(kPlain) : encode_machine({kGrowing, kSlots});
    const Shape& shape = version == 1 ? kPlain : kGrowing;
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      auto body = whole;
      body[bit / 8] ^= std::byte{1} << bit % 8;
      const auto read = decode_machine(body, version);
      if (!read) {
        const bool is_transport = version == 2 && bit / 8 == whole.size() - 1;
        CHECK(read.error().code == (is_transport ? ErrorCode::unsupported : ErrorCode::corrupt));
      } else {
        CHECK((read->shape != shape || read->slots != kSlots));
        CHECK(wire::shape_problem(read->shape).empty());
      }
    }
  }
}
