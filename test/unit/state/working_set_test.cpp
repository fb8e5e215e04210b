#include "state/working_set.hpp"

#include <doctest/doctest.h>

#include "state/sections.hpp"

using namespace microvm;
using state::PageSpan;
using state::WorkingSet;

namespace {

constexpr uint64_t kMemory = 16 << 20;
constexpr uint32_t kPages = kMemory / state::kWorkingSetPage;

ErrorCode error_of(wire::ByteView bytes, uint64_t memory_bytes = kMemory) {
  const auto set = state::parse_working_set(bytes, memory_bytes);
  return set ? ErrorCode{} : set.error().code;
}

ErrorCode error_of(const std::vector<PageSpan>& written, const std::vector<PageSpan>& read = {}) {
  return error_of(state::encode_working_set({kMemory, written, read}));
}

WorkingSet example() {
  return {kMemory, {{0, 1}, {2, 5}, {kPages - 1, 1}}, {{7, 3}, {10, 4}}};
}

// A body with any counts, in a file whose checksums are right.
wire::Bytes file_with_body(uint32_t written, uint32_t read, size_t ranges, uint16_t version = 1) {
  wire::ByteWriter body;
  body.put(kMemory);
  body.put(written);
  body.put(read);
  for (size_t i = 0; i < ranges; ++i) {
    body.put(static_cast<uint32_t>(2 * i));
    body.put(uint32_t{1});
  }
  state::Writer out;
  out.add(state::SectionId::working_set, 0, version, body.take());
  return out.finish();
}

}  // namespace

TEST_CASE("working set: what was recorded is found again") {
  const auto set = state::parse_working_set(state::encode_working_set(example()), kMemory);
  REQUIRE(set);
  CHECK(set->written == example().written);
  CHECK(set->read == example().read);
  CHECK(error_of(std::vector<PageSpan>{}) == ErrorCode{});
}

TEST_CASE("working set: every cut and every flipped bit is noticed") {
  const auto good = state::encode_working_set(example());
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK(error_of(wire::ByteView(good).first(size)) == ErrorCode::corrupt);
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    CHECK(error_of(bytes) == ErrorCode::corrupt);
  }
}

TEST_CASE("working set: ranges outside the memory, empty, out of order or overlapping") {
  CHECK(error_of({{kPages, 1}}) == ErrorCode::corrupt);
  CHECK(error_of({{kPages - 1, 2}}) == ErrorCode::corrupt);
  CHECK(error_of({{1, UINT32_MAX}}) == ErrorCode::corrupt);
  CHECK(error_of({{UINT32_MAX, UINT32_MAX}}) == ErrorCode::corrupt);
  CHECK(error_of({{5, 0}}) == ErrorCode::corrupt);
  CHECK(error_of({{5, 2}, {4, 1}}) == ErrorCode::corrupt);
  CHECK(error_of({{5, 2}, {6, 1}}) == ErrorCode::corrupt);
  CHECK(error_of({}, {{5, 2}, {6, 1}}) == ErrorCode::corrupt);
  CHECK(error_of({}, {{kPages, 1}}) == ErrorCode::corrupt);
}

TEST_CASE("working set: more ranges than the bound, and counts that the body does not have") {
  CHECK(error_of(file_with_body(state::kMaxWorkingSetRanges + 1, 0, 8)) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(1, state::kMaxWorkingSetRanges, 8)) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(UINT32_MAX, UINT32_MAX, 8)) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(9, 0, 8)) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(7, 0, 8)) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(8, 0, 8)) == ErrorCode{});
}

TEST_CASE("working set: of another memory, of a newer version, of another kind of file") {
  CHECK(error_of(state::encode_working_set(example()), kMemory * 2) == ErrorCode::corrupt);
  CHECK(error_of(file_with_body(8, 0, 8, 2)) == ErrorCode::unsupported);
  state::Writer other;
  other.add(state::SectionId::machine, 0, 1, {});
  CHECK(error_of(other.finish()) == ErrorCode::corrupt);
  CHECK(error_of(wire::Bytes(state::kMaxWorkingSetBytes + 1)) == ErrorCode::corrupt);
}
