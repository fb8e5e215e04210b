#include "wire/net.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::wire;

namespace {

NetworkSetup some_setup() {
  NetworkSetup setup;
  setup.otherwise = Otherwise::deny;
  setup.limits = {.bytes_per_second = 1'000'000, .flows_per_second = 7, .open_flows = 99};
  NetworkRule rule;
  rule.verdict = Verdict::allow;
  rule.protocol = FlowProtocol::tcp;
  rule.target = NetworkRule::Target::subdomains;
  rule.domain = "example.org";
  rule.ports = {{443, 443}, {8000, 8100}};
  rule.text = "allow tcp *.example.org:443,8000-8100";
  setup.rules = {rule, {}};
  return setup;
}

Bytes without_last(const Bytes& bytes, size_t count) {
  return {bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

TEST_CASE("network setup: what was written is read") {
  const NetworkSetup written = some_setup();
  const auto read = decode_network_setup(encode_network_setup(written));
  REQUIRE(read);
  CHECK(read->otherwise == Otherwise::deny);
  CHECK(read->limits.bytes_per_second == 1'000'000);
  CHECK(read->limits.flows_per_second == 7);
  CHECK(read->limits.open_flows == 99);
  REQUIRE(read->rules.size() == 2);
  CHECK(read->rules[0].verdict == Verdict::allow);
  CHECK(read->rules[0].domain == "example.org");
  CHECK(read->rules[0].target == NetworkRule::Target::subdomains);
  REQUIRE(read->rules[0].ports.size() == 2);
  CHECK(read->rules[0].ports[1].last == 8100);
  CHECK(read->rules[0].text == written.rules[0].text);
}

TEST_CASE("network setup: no cut of it is read as one") {
  const Bytes whole = encode_network_setup(some_setup());
  for (size_t cut = 1; cut <= whole.size(); ++cut) {
    CAPTURE(cut);
    CHECK_FALSE(decode_network_setup(without_last(whole, cut)).has_value());
  }
}

TEST_CASE("network setup: a newer version is refused by name, bad ports and prefixes as damage") {
  Bytes newer = encode_network_setup(some_setup());
  newer[4] = std::byte{9};
  CHECK(decode_network_setup(newer).error().code == ErrorCode::unsupported);

  NetworkSetup setup = some_setup();
  setup.rules[0].ports[0] = {.first = 5, .last = 4};
  CHECK(decode_network_setup(encode_network_setup(setup)).error().code == ErrorCode::corrupt);
  setup = some_setup();
  setup.rules[0].prefix_bits = 129;
  CHECK(decode_network_setup(encode_network_setup(setup)).error().code == ErrorCode::corrupt);
  setup = some_setup();
  setup.limits.open_flows = kMaxOpenFlows + 1;
  CHECK(decode_network_setup(encode_network_setup(setup)).error().code == ErrorCode::corrupt);
}

TEST_CASE("net wire: a pair, a record and a packet come through") {
  UdpPair pair;
  pair.admitted = true;
  pair.guest = {.address = {1, 2, 3}, .port = 5353};
  pair.remote = {.address = {4}, .port = 53};
  const auto read = decode_net(encode_net(pair));
  REQUIRE(read);
  REQUIRE(std::holds_alternative<UdpPair>(*read));
  CHECK(std::get<UdpPair>(*read).admitted);
  CHECK(std::get<UdpPair>(*read).guest == pair.guest);
  CHECK(std::get<UdpPair>(*read).remote == pair.remote);

  FlowRecord record;
  record.what = FlowRecord::What::refused;
  record.name = "example.org";
  record.reason = "deny *";
  record.lost = 3;
  const auto record_read = decode_net(encode_net(record));
  REQUIRE(record_read);
  CHECK(std::get<FlowRecord>(*record_read).reason == "deny *");
  CHECK(std::get<FlowRecord>(*record_read).lost == 3);

  const FirstPacket packet{Bytes(60, std::byte{7})};
  const auto packet_read = decode_net(encode_net(packet));
  REQUIRE(packet_read);
  CHECK(std::get<FirstPacket>(*packet_read).frame == packet.frame);
}

TEST_CASE("net wire: what is no message is refused, an unknown type told") {
  CHECK(decode_net({}).error().code == ErrorCode::protocol);
  Bytes bytes = encode_net(SetupChanged{});
  bytes[0] = std::byte{2};
  CHECK(decode_net(bytes).error().code == ErrorCode::unsupported);
  bytes = encode_net(NetUp{});
  bytes.pop_back();
  CHECK(decode_net(bytes).error().code == ErrorCode::protocol);
  bytes = encode_net(NetOk{});
  bytes[2] = std::byte{200};
  const auto unknown = decode_net(bytes);
  REQUIRE(unknown);
  CHECK(std::get<UnknownNetMessage>(*unknown).type == 200);
  CHECK_FALSE(decode_net(encode_net(FirstPacket{Bytes(kMaxFrameBytes + 1)})).has_value());
}
