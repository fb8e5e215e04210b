#include "host/store/event_log.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <thread>

#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

VmEvent event(const std::string& detail) {
  return {.time = "2026-11-24T09:00:00Z",
          .vm_id = "0123456789ab",
          .kind = VmEvent::Kind::suspended,
          .cause = "idle",
          .took_us = 7,
          .detail = detail};
}

std::vector<VmEvent> read_all(const std::filesystem::path& dir) {
  std::vector<VmEvent> events;
  REQUIRE(read_events(dir, false, [&](const VmEvent& e) { events.push_back(e); }, Limits({})));
  return events;
}

}  // namespace

TEST_CASE("event log: what was told comes back, foreign lines do not") {
  const test::TempDir dir;
  CHECK(read_all(dir.path()).empty());
  append_event(dir.path(), event("one \"quoted\"\nline"));
  std::ofstream(dir.path() / "events.jsonl", std::ios::app) << "garbage\n{\"event\":\"x\"}\n";
  VmEvent second = event("two");
  second.kind = VmEvent::Kind::hook_failed;
  append_event(dir.path(), second);
  const auto events = read_all(dir.path());
  REQUIRE(events.size() == 2);
  CHECK(events[0].detail == "one \"quoted\"\nline");
  CHECK(events[0].kind == VmEvent::Kind::suspended);
  CHECK(events[0].cause == "idle");
  CHECK(events[0].took_us == 7);
  CHECK(events[1].detail == "two");
  CHECK(events[1].kind == VmEvent::Kind::hook_failed);
}

TEST_CASE("event log: it is bounded, and a follower sees what comes over the change of files") {
  const test::TempDir dir;
  CancelToken enough;
  size_t seen = 0;
  constexpr size_t kEvents = 2500;  // more than one file holds
  std::jthread follower([&] {
    const auto sink = [&](const VmEvent& e) {
      ++seen;
      if (e.detail == "last") enough.cancel();
    };
    const auto done = read_events(dir.path(), true, sink, Limits({&enough, {}}));
    CHECK(done.error().code == ErrorCode::cancelled);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  for (size_t i = 1; i < kEvents; ++i) append_event(dir.path(), event(std::string(900, 'x')));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  append_event(dir.path(), event("last"));
  follower.join();
  CHECK(seen > 0);
  CHECK(std::filesystem::file_size(dir.path() / "events.jsonl") < (1u << 20) + 4096);
}

TEST_CASE("event log: how a vm ended is told as a value, of which a later library has more") {
  const test::TempDir dir;
  VmEvent ended = event("the guest powered off");
  ended.kind = VmEvent::Kind::terminated;
  ended.end = VmEnd::powered_off;
  append_event(dir.path(), ended);
  append_event(dir.path(), event("no end"));
  const auto events = read_all(dir.path());
  REQUIRE(events.size() == 2);
  CHECK(events[0].end == VmEnd::powered_off);
  CHECK(events[1].end == VmEnd::none);
  std::ifstream file(dir.path() / "events.jsonl");
  std::string line;
  std::getline(file, line);
  const size_t at = line.find("powered_off");
  REQUIRE(at != std::string::npos);
  std::ofstream(dir.path() / "events.jsonl") << line.replace(at, 11, "evaporated") << "\n";
  REQUIRE(read_all(dir.path()).size() == 1);
  CHECK(read_all(dir.path())[0].end == VmEnd::none);
}
