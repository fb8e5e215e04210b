// Watches, with the real agent over a directory of this machine and with bad ones.
#include "host/session/watch.hpp"

#include <doctest/doctest.h>

#include "unit/host/session/file_agents.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
using Kind = FileEvent::Kind;

namespace {

constexpr CallLimits kSoon{nullptr, std::chrono::seconds(20)};

std::pair<wire::FrameType, wire::Bytes> event_frame(Kind kind, const std::string& path,
                                                    const std::string& old_path = {}) {
  microvm_agent_WatchEvent event{};
  event.kind = static_cast<microvm_agent_WatchEvent_Kind>(kind);
  path.copy(event.path, sizeof event.path - 1);
  old_path.copy(event.old_path, sizeof event.old_path - 1);
  return {wire::FrameType::watch_event, encode_message(event)};
}

// What next() says to an agent that sends this after its ok.
Result<std::optional<FileEvent>> next_after(std::pair<wire::FrameType, wire::Bytes> frame) {
  const auto link = answering({ok_frame(), std::move(frame)});
  auto watch = open_watch(link, "/top", {}, nullptr, soon());
  REQUIRE(watch);
  return watch->next(kSoon);
}

}  // namespace

TEST_CASE("watch: events come through, then the end") {
  FileAgent agent;
  agent.root.write("top/file", "x");
  auto watch = open_watch(agent.link, "/top", {.recursive = true}, nullptr, soon());
  REQUIRE(watch);
  std::filesystem::rename(agent.root / "top/file", agent.root / "top/other");
  auto event = watch->next(kSoon);
  REQUIRE(event);
  REQUIRE(event->has_value());
  CHECK((*event)->kind == Kind::renamed);
  CHECK((*event)->old_path == "file");
  CHECK((*event)->path == "other");
  const auto nothing = watch->next({nullptr, std::chrono::milliseconds(50)});
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code == ErrorCode::deadline_exceeded);
  std::filesystem::remove_all(agent.root / "top");
  for (event = watch->next(kSoon); event && *event; event = watch->next(kSoon)) {
  }
  REQUIRE(event);
  CHECK(watch->next(kSoon)->has_value() == false);
}

TEST_CASE("watch: errors of the guest have a code") {
  FileAgent agent;
  CHECK(open_watch(agent.link, "/missing", {}, nullptr, soon()).error().code ==
        ErrorCode::not_found);
  CHECK(open_watch(agent.link, "relative", {}, nullptr, soon()).error().code ==
        ErrorCode::invalid_argument);
  CHECK(open_watch(agent.link, std::string(5000, 'x'), {}, nullptr, soon()).error().code ==
        ErrorCode::invalid_argument);
}

TEST_CASE("watch: a broken stream is vm_gone") {
  const auto link = answering({ok_frame()});
  auto watch = open_watch(link, "/top", {}, nullptr, soon());
  REQUIRE(watch);
  CHECK(watch->next(kSoon).error().code == ErrorCode::vm_gone);
}

TEST_CASE("watch: a stream that breaks inside an event is vm_gone") {
  const auto link = std::make_shared<LocalLink>([](base::Fd stream) {
    FrameWriter writer;
    CHECK(writer.write(stream.get(), wire::FrameType::ok, {}, soon(), "test"));
    const auto header = wire::FrameHeader{100, wire::FrameType::watch_event}.encode();
    CHECK(::send(stream.get(), header.data(), header.size(), MSG_NOSIGNAL) == 5);
    CHECK(::send(stream.get(), "half a body", 11, MSG_NOSIGNAL) == 11);
    ::shutdown(stream.get(), SHUT_WR);
    char request[4096];
    while (::recv(stream.get(), request, sizeof request, 0) > 0) {
    }
  });
  auto watch = open_watch(link, "/top", {}, nullptr, soon());
  REQUIRE(watch);
  CHECK(watch->next(kSoon).error().code == ErrorCode::vm_gone);
  CHECK(watch->next(kSoon).error().code == ErrorCode::vm_gone);
}

TEST_CASE("watch: nothing an agent sends is believed") {
  CHECK(next_after(event_frame(Kind::created, "a/b"))->value().path == "a/b");
  for (const char* path : {"/etc/passwd", "..", "a/../../b", "a//b", "a/", "./a"}) {
    INFO(path);
    CHECK(next_after(event_frame(Kind::created, path)).error().code == ErrorCode::protocol);
    CHECK(next_after(event_frame(Kind::renamed, "a", path)).error().code == ErrorCode::protocol);
  }
  CHECK(next_after(event_frame(static_cast<Kind>(77), "a")).error().code == ErrorCode::protocol);
  CHECK(next_after(data_frame("x")).error().code == ErrorCode::protocol);
  CHECK(
      next_after({wire::FrameType::watch_event, wire::Bytes(300, std::byte{0xff})}).error().code ==
      ErrorCode::protocol);
}
