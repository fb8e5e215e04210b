#include "state/sections.hpp"

#include <doctest/doctest.h>

#include "state/crc32c.hpp"

using namespace microvm;
using state::SectionId;

namespace {

wire::Bytes body_of(std::string_view text) {
  const auto view = wire::as_bytes(text);
  return {view.begin(), view.end()};
}

wire::Bytes two_sections() {
  state::Writer writer;
  writer.add(SectionId::machine, 0, 1, body_of("machine body"));
  writer.add(SectionId::vcpu, 1, 2, body_of("vcpu body"));
  return writer.finish();
}

ErrorCode parse_error(wire::ByteView bytes) {
  const auto reader = state::Reader::parse(bytes);
  return reader ? ErrorCode{} : reader.error().code;
}

}  // namespace

TEST_CASE("sections: what was written is found again") {
  const auto bytes = two_sections();
  const auto reader = state::Reader::parse(bytes);
  REQUIRE(reader);
  const auto section = reader->find(SectionId::vcpu, 1, 2);
  REQUIRE(section);
  CHECK(wire::as_text(section->body) == "vcpu body");
  CHECK(section->version == 2);
}

TEST_CASE("sections: a missing one and a newer one are typed errors") {
  const auto bytes = two_sections();
  const auto reader = state::Reader::parse(bytes);
  REQUIRE(reader);
  CHECK(reader->find(SectionId::vcpu, 0, 2).error().code == ErrorCode::corrupt);
  CHECK(reader->find(SectionId::vcpu, 1, 1).error().code == ErrorCode::unsupported);
}

TEST_CASE("sections: every cut and every flipped bit is noticed") {
  const auto good = two_sections();
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK(parse_error(wire::ByteView(good).first(size)) == ErrorCode::corrupt);
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    CHECK(parse_error(bytes) == ErrorCode::corrupt);
  }
}

TEST_CASE("sections: one that stands there twice, and bytes after the end, are refused") {
  state::Writer writer;
  writer.add(SectionId::clock, 0, 1, body_of("a"));
  writer.add(SectionId::clock, 0, 1, body_of("b"));
  CHECK(parse_error(writer.finish()) == ErrorCode::corrupt);
  auto bytes = two_sections();
  bytes.push_back(std::byte{0});
  CHECK(parse_error(bytes) == ErrorCode::corrupt);
}

TEST_CASE("sections: a newer format and an absurd count are refused") {
  auto header = [](uint32_t version, uint32_t count) {
    wire::ByteWriter out;
    out.put_bytes(wire::as_bytes("MVMSTATE"));
    out.put(version);
    out.put(count);
    out.put(state::crc32c(out.bytes()));
    return out.take();
  };
  CHECK(parse_error(header(state::kFormatVersion + 1, 0)) == ErrorCode::unsupported);
  CHECK(parse_error(header(state::kFormatVersion, UINT32_MAX)) == ErrorCode::corrupt);
  CHECK(parse_error(header(state::kFormatVersion, 0)) == ErrorCode{});
}
