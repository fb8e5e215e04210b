#include "state/exit_record.hpp"

#include <doctest/doctest.h>

#include "golden/recorded_messages.hpp"
#include "state/crc32c.hpp"

using namespace microvm;
using namespace microvm::state;
using Reason = wire::ExitEvent::Reason;

namespace {

const wire::ExitEvent kPanic{Reason::panic, "Kernel panic - not syncing: x", {11, 22, 33}};
constexpr size_t kBody = 16;  // where it begins

// A record with another version or body, and a checksum that is right.
wire::Bytes record(uint32_t version, wire::ByteView body) {
  wire::ByteWriter out;
  out.put_bytes(wire::as_bytes("MVM-EXIT"));
  out.put(version);
  out.put(static_cast<uint32_t>(body.size()));
  out.put_bytes(body);
  out.put(crc32c(out.bytes()));
  return out.take();
}

wire::Bytes body_of(const wire::Bytes& bytes) {
  return {bytes.begin() + kBody, bytes.end() - 4};
}

void check_is_panic(const Result<wire::ExitEvent>& exit) {
  REQUIRE(exit);
  CHECK(exit->reason == Reason::panic);
  CHECK(exit->detail == kPanic.detail);
  CHECK(exit->usage.exits == 11);
  CHECK(exit->usage.cpu_us == 22);
  CHECK(exit->usage.lived_us == 33);
}

}  // namespace

TEST_CASE("exit record: what was written is read") {
  check_is_panic(decode_exit_record(encode_exit_record(kPanic)));
  const auto suspended = decode_exit_record(encode_exit_record({Reason::suspended, {}, {}}));
  REQUIRE(suspended);
  CHECK(suspended->reason == Reason::suspended);
}

TEST_CASE("exit record: those of version 1 are still read") {
  const auto recorded = test::recorded_messages();
  const auto panic = decode_exit_record(recorded.at("exit_event"));
  REQUIRE(panic);
  CHECK(panic->reason == Reason::panic);
  CHECK(panic->detail == "kernel panic");
  CHECK(panic->usage.cpu_us == 0);
  const auto suspended = decode_exit_record(recorded.at("exit_suspended"));
  REQUIRE(suspended);
  CHECK(suspended->reason == Reason::suspended);
  CHECK(decode_exit_record(recorded.at("ok")).error().code == ErrorCode::corrupt);
  const auto message = wire::encode({0, kPanic});
  CHECK(decode_exit_record(*message).error().code == ErrorCode::corrupt);
}

TEST_CASE("exit record: every truncation and every turned bit is refused") {
  wire::Bytes bytes = encode_exit_record(kPanic);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CHECK_FALSE(decode_exit_record(wire::ByteView(bytes).first(size)));
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1u << (bit % 8));
    bytes[bit / 8] ^= mask;
    CHECK_FALSE(decode_exit_record(bytes));
    bytes[bit / 8] ^= mask;
  }
}

TEST_CASE("exit record: what a longer one left behind it does not count") {
  wire::Bytes bytes = encode_exit_record(kPanic);
  bytes.resize(bytes.size() + 100, std::byte{0x5a});
  check_is_panic(decode_exit_record(bytes));
}

TEST_CASE("exit record: newer fields are skipped, missing ones have their defaults") {
  wire::Bytes body = body_of(encode_exit_record(kPanic));
  wire::Bytes longer = body;
  longer.resize(longer.size() + 9, std::byte{0xff});
  check_is_panic(decode_exit_record(record(2, longer)));
  body.resize(1 + 4 + kPanic.detail.size());
  const auto exit = decode_exit_record(record(2, body));
  REQUIRE(exit);
  CHECK(exit->detail == kPanic.detail);
  CHECK(exit->usage.exits == 0);
}

TEST_CASE("exit record: a newer version is refused by name") {
  const auto refused = decode_exit_record(record(3, body_of(encode_exit_record(kPanic))));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message ==
        "exit record: version 3 was made by a newer libmicrovm, this one reads up to 2");
  const wire::Bytes unknown_reason{std::byte{7}};
  CHECK(decode_exit_record(record(2, unknown_reason)).error().code == ErrorCode::corrupt);
  for (const uint32_t version : {0u, 1u}) CHECK_FALSE(decode_exit_record(record(version, {})));
}
