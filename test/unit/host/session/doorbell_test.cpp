#include "host/session/doorbell.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "host/session/agent_messages.hpp"
#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::host;
using wire::FrameType;

namespace {

// Counted from each call: a fixed one would have passed before the later tests run.
Limits limits() {
  return Limits({}, std::chrono::seconds(5));
}

// A doorbell and the guest's end of its stream.
struct Bell {
  Bell() {
    auto pair = sys::stream_pair();
    REQUIRE(pair);
    guest = std::move(pair->first);
    doorbell.emplace(std::move(pair->second), *make_identity("web"));
  }
  void ring(bool restored) {
    microvm_agent_Hello hello{};
    hello.restored = restored;
    send(FrameType::hello, encode_message(hello));
  }
  void send(FrameType type, const wire::Bytes& body) {
    REQUIRE(writer.write(guest.get(), type, body, limits(), "test"));
  }

  base::Fd guest;
  std::optional<Doorbell> doorbell;
  FrameWriter writer;
  FrameReader reader;
};

}  // namespace

TEST_CASE("doorbell: the identity does not wait for the hello, ready ends it") {
  Bell bell;
  CHECK_FALSE(*bell.doorbell->advance());  // which is all that it takes to be told
  const auto frame = bell.reader.read(bell.guest.get(), limits(), "test");
  REQUIRE(frame);
  REQUIRE((*frame)->type == FrameType::identity);
  const auto identity = decode_message<microvm_agent_Identity>((*frame)->body);
  REQUIRE(identity);
  CHECK(std::string(identity->hostname) == "web");
  CHECK(std::string(identity->machine_id).size() == 32);
  CHECK(std::string(identity->boot_id).size() == 36);
  CHECK(identity->seed.size == 64);
  CHECK(identity->realtime_ns > 1'600'000'000'000'000'000);
  bell.ring(true);
  CHECK_FALSE(*bell.doorbell->advance());
  CHECK(bell.reader.advance(bell.guest.get()) == FrameReader::State::would_block);  // told once
  microvm_agent_Ready ready{};
  ready.command_running = true;
  ready.identity_us = 1200;
  ready.thaw_us = 7;
  bell.send(FrameType::ready, encode_message(ready));
  CHECK(bell.doorbell->wait_ready(limits()));
  CHECK(bell.doorbell->restored());
  CHECK(bell.doorbell->command_running());
  CHECK(bell.doorbell->identity_took() == std::chrono::microseconds(1200));
  CHECK(bell.doorbell->thaw_took() == std::chrono::microseconds(7));
}

TEST_CASE("doorbell: out of turn, hung up, too slow") {
  Bell early;
  early.send(FrameType::ready, {});
  CHECK(early.doorbell->advance().error().code == ErrorCode::protocol);
  Bell twice;
  twice.ring(true);
  twice.ring(true);
  CHECK(twice.doorbell->advance().error().code == ErrorCode::protocol);
  Bell gone;
  gone.ring(false);
  gone.guest.reset();
  CHECK(gone.doorbell->wait_ready(limits()).error().code == ErrorCode::vm_gone);
  Bell cut;
  const auto header = wire::FrameHeader{10, FrameType::hello}.encode();
  REQUIRE(::send(cut.guest.get(), header.data(), 3, MSG_NOSIGNAL) == 3);
  cut.guest.reset();
  CHECK(cut.doorbell->wait_ready(limits()).error().code == ErrorCode::vm_gone);
  Bell slow;
  const auto late = slow.doorbell->wait_ready(Limits({}, std::chrono::milliseconds(20)));
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
}

TEST_CASE("identities are never the same") {
  const auto one = make_identity("a");
  const auto two = make_identity("a");
  REQUIRE((one && two));
  CHECK(one->machine_id != two->machine_id);
  CHECK(one->boot_id != two->boot_id);
  CHECK(one->seed != two->seed);
  CHECK(one->boot_id[14] == '4');
}

TEST_CASE("the network of an identity goes to the agent, what is too much of it does not") {
  GuestNetwork network;
  microvm_agent_Identity message{};
  REQUIRE(set_network(message, network));
  CHECK(message.network == microvm_agent_Identity_Network_AS_IT_IS);

  network.kind = GuestNetwork::Kind::tap;
  network.mac = {2, 0, 0, 0, 0, 9};
  network.addresses = {{{192, 0, 2, 7}, 24}, {IpAddressBytes(16, 0xfd), 64}};
  network.gateways = {{192, 0, 2, 1}};
  network.dns = {{192, 0, 2, 53}};
  network.search = "example.org";
  message = {};
  REQUIRE(set_network(message, network));
  const auto back = decode_message<microvm_agent_Identity>(encode_message(message));
  REQUIRE(back);
  CHECK(back->network == microvm_agent_Identity_Network_TAP);
  CHECK(back->mac.size == 6);
  CHECK(back->mac.bytes[5] == 9);
  REQUIRE(back->addresses_count == 2);
  CHECK(back->addresses[0].address.size == 4);
  CHECK(back->addresses[0].prefix_bits == 24);
  CHECK(back->addresses[1].address.size == 16);
  CHECK(back->gateways_count == 1);
  CHECK(back->dns[0].bytes[3] == 53);
  CHECK(std::string(back->search) == "example.org");

  const auto refused = [](GuestNetwork wrong) {
    microvm_agent_Identity unused{};
    const auto set = set_network(unused, wrong);
    return !set && set.error().code == ErrorCode::invalid_argument;
  };
  CHECK(refused({.addresses = std::vector<GuestNetwork::Address>(9, {{1, 2, 3, 4}, 8})}));
  CHECK(refused({.addresses = {{{1, 2, 3, 4}, 33}}}));
  CHECK(refused({.gateways = {{1, 2, 3}}}));
  CHECK(refused({.gateways = std::vector<IpAddressBytes>(3, {1, 2, 3, 4})}));
  CHECK(refused({.dns = std::vector<IpAddressBytes>(9, {1, 2, 3, 4})}));
  CHECK(refused({.search = std::string(257, 'a')}));
}
