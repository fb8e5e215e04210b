#include "vmm/control/connection.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include "sys/socket.hpp"
#include "unit/sys/no_room_for_fds.hpp"

using namespace microvm;
using sys::Loop;
using vmm::control::Connection;

namespace {

// A worker's connection whose peer the test plays.
struct Fixture {
  Fixture() {
    auto sockets = sys::seqpacket_pair();
    REQUIRE(sockets);
    peer = std::move(sockets->second);
    REQUIRE(sys::set_nonblocking(peer.get()));
    REQUIRE(sys::set_nonblocking(sockets->first.get()));
    connection = std::make_unique<Connection>(
        *loop, std::move(sockets->first),
        Connection::Callbacks{
            .message = [this](wire::Envelope envelope, std::vector<base::Fd>) { heard = envelope; },
            .closed = [this] { closed = true; }});
  }
  void say(wire::ByteView bytes) {
    REQUIRE(sys::send_message(peer.get(), bytes));
    for (int i = 0; i < 3; ++i) loop->run_once(std::chrono::milliseconds(1));
  }
  void say(const wire::Envelope& envelope) { say(*wire::encode(envelope)); }
  std::optional<wire::Envelope> answer() {
    const auto message = sys::receive_message(peer.get());
    if (!message) return std::nullopt;
    auto envelope = wire::decode(message->bytes);
    REQUIRE(envelope);
    fds = message->fds.size();
    return std::move(*envelope);
  }
  wire::ErrorReply refusal(uint32_t id, uint16_t version) {
    const auto said = answer();
    REQUIRE(said);
    CHECK(said->request_id == id);
    CHECK(said->version == version);
    REQUIRE(std::holds_alternative<wire::ErrorReply>(said->message));
    return std::get<wire::ErrorReply>(said->message);
  }

  std::unique_ptr<Loop> loop = std::move(*Loop::create());
  base::Fd peer;
  std::unique_ptr<Connection> connection;
  std::optional<wire::Envelope> heard;
  bool closed = false;
  size_t fds = 0;
};

constexpr auto kUnsupported = static_cast<uint32_t>(ErrorCode::unsupported);

}  // namespace

TEST_CASE("connection: a greeting is answered in the oldest form that an answer has") {
  Fixture fixture;
  fixture.say(wire::greeting());
  const auto said = fixture.answer();
  REQUIRE(said);
  CHECK(said->version ==
        2);  // whoever greets may know no later one: that stays, whatever is newest
  CHECK(std::get<wire::VersionsReply>(said->message).newest == wire::kControlVersion);
}

TEST_CASE("connection: each peer is answered in the version that it speaks") {
  Fixture fixture;
  fixture.connection->send({0, wire::AgentEvent{}});
  CHECK(fixture.answer()->version == 1);  // nothing is known of it yet
  for (const uint16_t version : std::initializer_list<uint16_t>{1, 2, 1}) {
    fixture.say({7, wire::PauseRequest{}, version});
    REQUIRE(fixture.heard);
    CHECK(std::holds_alternative<wire::PauseRequest>(fixture.heard->message));
    fixture.connection->send({7, wire::OkReply{}});
    CHECK(fixture.answer()->version == version);
  }
}

TEST_CASE("connection: who greets is told the versions and goes on as before") {
  Fixture fixture;
  fixture.say(wire::greeting());
  CHECK_FALSE(fixture.heard);
  const auto answer = fixture.answer();
  REQUIRE(answer);
  CHECK(answer->request_id == wire::kGreetingId);
  REQUIRE(std::holds_alternative<wire::VersionsReply>(answer->message));
  CHECK(std::get<wire::VersionsReply>(answer->message).oldest == 1);
  CHECK(std::get<wire::VersionsReply>(answer->message).newest == 2);
  fixture.connection->send({0, wire::AgentEvent{}});
  CHECK(fixture.answer()->version == 1);
}

TEST_CASE("connection: a newer version is refused by name, and the connection lives") {
  Fixture fixture;
  auto bytes = *wire::encode({9, wire::PauseRequest{}});
  bytes[0] = std::byte{3};
  fixture.say(bytes);
  const auto error = fixture.refusal(9, 2);
  CHECK(error.code == kUnsupported);
  CHECK(error.message ==
        "the worker was asked in version 3 of the control wire, of which versions 1 to 2 are known "
        "here");
  CHECK_FALSE(fixture.heard);
  fixture.say({10, wire::PauseRequest{}});
  CHECK(fixture.heard);
  CHECK_FALSE(fixture.closed);
}

TEST_CASE("connection: a request that can not be read is refused in its version") {
  for (const uint16_t version : std::initializer_list<uint16_t>{1, 2}) {
    Fixture fixture;
    auto bytes = *wire::encode({9, wire::TerminateRequest{}, version});
    bytes.back() = std::byte{2};
    fixture.say(bytes);
    CHECK(fixture.refusal(9, version).code == static_cast<uint32_t>(ErrorCode::protocol));
    CHECK_FALSE(fixture.heard);
    CHECK_FALSE(fixture.closed);
  }
}

TEST_CASE(
    "connection: a request whose fds there is no room for is refused, and the next one heard") {
  Fixture fixture;
  const auto bytes = wire::encode({7, wire::PauseRequest{}, wire::kControlVersion});
  const std::array<int, 1> fds = {fixture.peer.get()};
  REQUIRE(sys::send_message(fixture.peer.get(), *bytes, fds));
  {
    const test::NoRoomForFds full;
    for (int i = 0; i < 3; ++i) fixture.loop->run_once(std::chrono::milliseconds(1));
  }
  CHECK(fixture.refusal(7, wire::kControlVersion).code == static_cast<uint32_t>(ErrorCode::io));
  CHECK_FALSE(fixture.heard);
  fixture.say({8, wire::PauseRequest{}, wire::kControlVersion});
  CHECK(fixture.heard);
  CHECK_FALSE(fixture.closed);
}

TEST_CASE("connection: an unknown request is heard as such") {
  Fixture fixture;
  auto bytes = *wire::encode({9, wire::PauseRequest{}});
  bytes[2] = std::byte{99};
  fixture.say(bytes);
  REQUIRE(fixture.heard);
  CHECK(std::holds_alternative<wire::UnknownMessage>(fixture.heard->message));
}

TEST_CASE("connection: what a version has no words for is an error in a reply and no event") {
  Fixture fixture;
  fixture.say({7, wire::PauseRequest{}, 1});
  fixture.connection->send({0, wire::VersionsReply{1, 2}});
  CHECK_FALSE(fixture.answer());
  std::vector<base::Fd> fds;
  fds.emplace_back(::memfd_create("file", MFD_CLOEXEC));
  fixture.connection->send({7, wire::VersionsReply{1, 2}}, std::move(fds));
  CHECK(fixture.refusal(7, 1).code == kUnsupported);
  CHECK(fixture.fds == 0);
  CHECK_FALSE(fixture.closed);
}

TEST_CASE("connection: what is no message at all ends it") {
  Fixture fixture;
  fixture.say(wire::as_bytes("garbage"));
  CHECK(fixture.closed);
}
