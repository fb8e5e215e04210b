#include "host/network/net_client.hpp"

#include <doctest/doctest.h>

#include "host/network/rule_text.hpp"
#include "host/network/setup_file.hpp"
#include "unit/host/network/fake_net.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using test::FakeNet;
using test::TempDir;

namespace {

NetClient connect(const TempDir& dir) {
  auto client = NetClient::connect(dir.path());
  REQUIRE(client);
  REQUIRE(*client);
  return std::move(**client);
}

Limits in_time() {
  return Limits({.cancel = nullptr, .timeout = std::chrono::seconds(20)});
}

}  // namespace

TEST_CASE("net client: nobody listens, or nobody any more") {
  const TempDir dir;
  auto client = NetClient::connect(dir.path());
  REQUIRE(client);
  CHECK_FALSE(*client);
  {
    const FakeNet net(dir.path());
  }
  client = NetClient::connect(dir.path());
  REQUIRE(client);
  CHECK_FALSE(*client);
}

TEST_CASE("net client: status and a new setup") {
  const TempDir dir;
  FakeNet net(dir.path());
  net.status = {.bytes_from_guest = 1, .flows = 7, .dns_failed = 9};
  NetClient client = connect(dir);
  const auto status = client.status(in_time());
  REQUIRE(status);
  NetworkCounters counters;
  add_status(counters, *status);
  CHECK(counters == NetworkCounters{.bytes_from_guest = 1, .flows = 7, .dns_failed = 9});

  REQUIRE(write_new_setup(dir.path(), *compile_policy({.rules = {"deny *"}})));
  const auto file = open_setup(dir.path());
  REQUIRE(file);
  REQUIRE(client.change_setup(file->get(), in_time()));
  REQUIRE(net.setup());
  CHECK(policy_of(*net.setup()).rules == std::vector<std::string>{"deny *"});
}

TEST_CASE("net client: one that says nothing, nonsense, too much, or no") {
  const TempDir dir;
  FakeNet net(dir.path());
  const auto ask = [&](std::optional<wire::Bytes> answer, std::chrono::milliseconds limit) {
    net.answer_with(std::move(answer));
    const auto status = connect(dir).status(Limits({.cancel = nullptr, .timeout = limit}));
    REQUIRE_FALSE(status);
    return status.error();
  };
  constexpr std::chrono::seconds kLong{20};
  CHECK(ask({}, std::chrono::milliseconds(30)).code == ErrorCode::deadline_exceeded);
  CHECK(ask(wire::Bytes(3), kLong).code == ErrorCode::protocol);
  CHECK(ask(wire::encode_net(wire::NetOk{}), kLong).code == ErrorCode::protocol);
  CHECK(ask(wire::Bytes(wire::kMaxNetMessage + 1), kLong).code == ErrorCode::protocol);
  const auto refused = ask(
      wire::encode_net(wire::NetError{static_cast<uint32_t>(ErrorCode::busy), "no\nmore"}), kLong);
  CHECK(refused.code == ErrorCode::busy);
  CHECK(refused.message == "the network process: no more");
  CHECK(ask(wire::encode_net(wire::NetError{9999, ""}), kLong).code == ErrorCode::internal);
}

TEST_CASE("net client: flows as the embedder sees them") {
  wire::FlowRecord record{.realtime_ns = 1'767'323'045'000'000'000,
                          .what = wire::FlowRecord::What::refused,
                          .protocol = wire::FlowProtocol::tcp,
                          .name = "a\x1b[2J.example",
                          .reason = "deny *"};
  record.remote.address[10] = record.remote.address[11] = 0xff;
  record.remote.address[12] = 192;
  record.remote.address[14] = 2;
  record.remote.address[15] = 7;
  record.remote.port = 443;
  FlowRecord flow = to_flow_record(record);
  CHECK(flow.time == "2026-01-02T03:04:05Z");
  CHECK(flow.kind == FlowRecord::Kind::refused);
  CHECK(std::string(flow_kind_name(flow.kind)) == "refused");
  CHECK(flow.protocol == "tcp");
  CHECK(flow.address == "192.0.2.7");
  CHECK(flow.port == 443);
  CHECK(flow.name == "a?[2J.example");
  CHECK(flow.reason == "deny *");
  record.remote.address = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  CHECK(to_flow_record(record).address == "2001:db8::1");
  record.what = wire::FlowRecord::What::name;
  flow = to_flow_record(record);
  CHECK(flow.address.empty());
  CHECK(flow.port == 0);
}
