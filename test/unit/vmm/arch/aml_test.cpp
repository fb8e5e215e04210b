#include "vmm/arch/x86_64/aml.hpp"

#include <doctest/doctest.h>

using namespace microvm::vmm::x86_64;
using microvm::wire::Bytes;

namespace {

Bytes bytes(std::initializer_list<unsigned> values) {
  Bytes out;
  for (const unsigned value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

}  // namespace

TEST_CASE("aml: integers take the shortest form") {
  CHECK(aml::integer(0) == bytes({0x00}));
  CHECK(aml::integer(1) == bytes({0x01}));
  CHECK(aml::integer(0xff) == bytes({0x0a, 0xff}));
  CHECK(aml::integer(0x1234) == bytes({0x0b, 0x34, 0x12}));
  CHECK(aml::integer(0xd0000000) == bytes({0x0c, 0x00, 0x00, 0x00, 0xd0}));
  CHECK(aml::integer(0x100000000) == bytes({0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST_CASE("aml: paths of one, two and more names") {
  CHECK(aml::path("_UID") == bytes({'_', 'U', 'I', 'D'}));
  CHECK(aml::path("\\_SB_") == bytes({'\\', '_', 'S', 'B', '_'}));
  CHECK(aml::path("\\_SB_.VGEN") == bytes({'\\', 0x2e, '_', 'S', 'B', '_', 'V', 'G', 'E', 'N'}));
  CHECK(aml::path("AAAA.BBBB.CCCC") ==
        bytes({0x2f, 3, 'A', 'A', 'A', 'A', 'B', 'B', 'B', 'B', 'C', 'C', 'C', 'C'}));
}

TEST_CASE("aml: package lengths count themselves, in one to four bytes") {
  CHECK(aml::package({aml::integer(5), aml::integer(0)}) == bytes({0x12, 5, 2, 0x0a, 5, 0}));

  auto length_of = [](size_t body) {
    const Bytes scope = aml::scope("ABCD", {Bytes(body - 4)});
    return Bytes(scope.begin() + 1, scope.end() - static_cast<ptrdiff_t>(body));
  };
  CHECK(length_of(62) == bytes({63}));
  CHECK(length_of(63) == bytes({0x41, 0x04}));          // 65
  CHECK(length_of(4093) == bytes({0x4f, 0xff}));        // 4095
  CHECK(length_of(4094) == bytes({0x81, 0x00, 0x01}));  // 4097
  CHECK(length_of(1 << 20) == bytes({0xc4, 0x00, 0x00, 0x01}));
}

TEST_CASE("aml: resources end with their tag") {
  CHECK(aml::resources({aml::edge_interrupt(16)}) ==
        bytes({0x11, 14, 0x0a, 11, 0x89, 6, 0, 3, 1, 16, 0, 0, 0, 0x79, 0}));
}
