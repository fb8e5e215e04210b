#include "wire/bytes.hpp"

#include <doctest/doctest.h>

using namespace microvm::wire;

TEST_CASE("bytes: what was written is read back") {
  ByteWriter out;
  out.put<uint16_t>(0x1234);
  out.put_string("name");
  out.put<uint64_t>(7);
  ByteReader in(out.bytes());
  CHECK(in.get<uint16_t>() == 0x1234);
  CHECK(in.get_string(16) == "name");
  CHECK(in.get<uint64_t>() == 7);
  CHECK(in.done());
}

TEST_CASE("bytes: a short read fails and everything after it does too") {
  ByteWriter out;
  out.put<uint16_t>(1);
  ByteReader in(out.bytes());
  CHECK(in.get<uint32_t>() == 0);
  CHECK_FALSE(in.ok());
  CHECK(in.get<uint16_t>() == 0);
  CHECK_FALSE(in.done());
}

TEST_CASE("bytes: a string over its bound is refused") {
  ByteWriter out;
  out.put_string("longer than four");
  ByteReader in(out.bytes());
  CHECK(in.get_string(4).empty());
  CHECK_FALSE(in.ok());
}
