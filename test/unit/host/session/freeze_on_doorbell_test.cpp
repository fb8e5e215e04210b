// A guest is frozen and thawed on its doorbell, where its agent answers there.
#include <doctest/doctest.h>

#include <future>

#include "host/session/agent_client.hpp"
#include "unit/host/session/local_link.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::LocalLink;
using wire::FrameType;

namespace {

constexpr auto kState = AgentClient::FreezeFor::state;
using Frames = std::vector<FrameType>;

Limits limits() {
  return Limits({}, std::chrono::seconds(20));
}

// Answers each frame with ok until the stream ends. A real agent would set this machine's clock.
Frames answer_all(const base::Fd& stream) {
  Frames asked;
  FrameReader reader;
  FrameWriter writer;
  for (;;) {
    const auto frame = reader.read(stream.get(), limits(), "test");
    if (!frame || !*frame) return asked;
    asked.push_back((*frame)->type);
    if (!writer.write(stream.get(), FrameType::ok, {}, limits(), "test")) return asked;
  }
}

// A guest whose agent has rung.
struct Rung {
  explicit Rung(uint32_t version = wire::kFreezesOnDoorbell) {
    auto pair = sys::stream_pair();
    REQUIRE(pair);
    bell = std::move(pair->second);
    client.emplace(link, HeldDoorbell{std::move(pair->first), version});
  }
  // From here on the agent answers; what it was asked is there once the client is gone.
  std::future<Frames> answer() {
    return std::async(std::launch::async, [this] { return answer_all(bell); });
  }

  std::atomic<int> operations{0};
  std::shared_ptr<LocalLink> link = std::make_shared<LocalLink>([this](const base::Fd& stream) {
    ++operations;
    answer_all(stream);
  });
  base::Fd bell;
  std::optional<AgentClient> client;
};

}  // namespace

TEST_CASE("freeze: on the doorbell it takes no connection, and ends with the client") {
  Rung t;
  auto asked = t.answer();
  CHECK(t.client->freeze(kState, limits()));
  CHECK(t.client->thaw(limits()));
  CHECK(t.client->freeze(kState, limits()));
  t.client.reset();
  CHECK(asked.get() == Frames{FrameType::freeze, FrameType::thaw, FrameType::freeze});
  CHECK(t.operations == 0);
}

TEST_CASE("freeze: an agent of before is asked as before") {
  Rung t(wire::kFreezesOnDoorbell - 1);
  auto asked = t.answer();
  CHECK(t.client->freeze(kState, limits()));
  CHECK(t.client->thaw(limits()));
  CHECK(t.operations == 2);
  t.client.reset();  // held until here
  CHECK(asked.get().empty());
}

TEST_CASE("freeze: a doorbell that does not answer in time is closed, and not asked again") {
  Rung t;
  const auto late = t.client->freeze(kState, Limits({}, std::chrono::milliseconds(20)));
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CHECK(answer_all(t.bell) == Frames{FrameType::freeze});  // to its end
  CHECK(t.operations == 0);
  CHECK(t.client->thaw(limits()));
  CHECK(t.operations == 1);
  t.client.reset();
}

TEST_CASE("freeze: a doorbell that has ended, or says what nobody asked for, is none") {
  Rung t;
  SUBCASE("ended") {
    t.bell.reset();
  }
  SUBCASE("unasked") {
    FrameWriter writer;
    REQUIRE(writer.write(t.bell.get(), FrameType::ok, {}, limits(), "test"));
  }
  CHECK(t.client->freeze(kState, limits()));
  CHECK(t.client->thaw(limits()));
  CHECK(t.operations == 2);
  t.client.reset();
}
