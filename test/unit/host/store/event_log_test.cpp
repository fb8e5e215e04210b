#include "host/store/event_log.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <barrier>
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

// What is there now.
std::vector<std::string> read_now(EventReader& reader) {
  std::vector<std::string> details;
  for (;;) {
    const auto found = reader.next();
    REQUIRE_MESSAGE(found, found.error().message);
    if (found->event) details.push_back(found->event->detail);
    if (found->at_end) return details;
  }
}

EventReader open_reader(const std::filesystem::path& dir, bool follow) {
  auto reader = EventReader::open(dir, follow);
  REQUIRE_MESSAGE(reader, reader.error().message);
  return std::move(*reader);
}

std::vector<VmEvent> read_all(const std::filesystem::path& dir) {
  std::vector<VmEvent> events;
  auto reader = open_reader(dir, false);
  for (;;) {
    auto found = reader.next();
    REQUIRE(found);
    if (found->event) events.push_back(std::move(*found->event));
    if (found->at_end) return events;
  }
}

using Details = std::vector<std::string>;

// As a file that is full does.
void change_files(const std::filesystem::path& dir) {
  std::filesystem::rename(dir / "events.jsonl", dir / "events.jsonl.1");
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

TEST_CASE("event log: it is bounded, and a follower sees all that comes over the change of files") {
  const test::TempDir dir;
  auto follower = open_reader(dir.path(), true);
  Details told;
  Details seen;
  constexpr size_t kEvents = 2500;  // more than two files hold
  for (size_t i = 1; i <= kEvents; ++i) {
    told.push_back(std::to_string(i) + std::string(900, 'x'));
    append_event(dir.path(), event(told.back()));
    if (i % 500 != 0) continue;  // half a file behind
    for (std::string& detail : read_now(follower)) seen.push_back(std::move(detail));
  }
  CHECK(seen == told);
  CHECK(std::filesystem::file_size(dir.path() / "events.jsonl") < (1u << 20) + 4096);
  CHECK(std::filesystem::file_size(dir.path() / "events.jsonl.1") < (1u << 20) + 4096);
}

TEST_CASE("event log: the change of files between two looks loses nothing") {
  const test::TempDir dir;
  append_event(dir.path(), event("1"));
  auto follower = open_reader(dir.path(), true);
  SUBCASE("none of the new file is there yet") {
    change_files(dir.path());
    CHECK(read_now(follower) == Details{"1"});
    append_event(dir.path(), event("2"));
    CHECK(read_now(follower) == Details{"2"});
  }
  SUBCASE("twice") {
    change_files(dir.path());
    append_event(dir.path(), event("2"));
    change_files(dir.path());
    append_event(dir.path(), event("3"));
    CHECK(read_now(follower) == Details{"1", "2", "3"});
  }
  SUBCASE("before the first look of another follower") {
    change_files(dir.path());
    auto late = open_reader(dir.path(), true);
    append_event(dir.path(), event("2"));
    CHECK(read_now(late) == Details{"1", "2"});
  }
  SUBCASE("one that was writing meanwhile still has the old file") {
    std::ofstream old_file(dir.path() / "events.jsonl", std::ios::app);
    std::ifstream line_of(dir.path() / "events.jsonl");
    std::string line;
    std::getline(line_of, line);
    change_files(dir.path());
    append_event(dir.path(), event("2"));
    CHECK(read_now(follower) == Details{"1", "2"});
    old_file << line << std::endl;
    CHECK(read_now(follower) == Details{"1"});
  }
}

TEST_CASE("event log: a line that is not whole yet is waited for") {
  const test::TempDir dir;
  append_event(dir.path(), event("whole"));
  std::string text;
  {
    std::ifstream file(dir.path() / "events.jsonl");
    std::getline(file, text);
  }
  auto follower = open_reader(dir.path(), true);
  CHECK(read_now(follower) == Details{"whole"});
  std::ofstream file(dir.path() / "events.jsonl", std::ios::app);
  file << text.substr(0, 20) << std::flush;
  CHECK(read_now(follower).empty());
  file << text.substr(20) << std::flush;
  CHECK(read_now(follower).empty());
  file << std::endl;
  CHECK(read_now(follower) == Details{"whole"});
}

TEST_CASE("event log: garbage without end is passed over in bounded steps") {
  const test::TempDir dir;
  std::string garbage;
  SUBCASE("one line") {
    garbage.assign(1 << 18, 'x');
  }
  SUBCASE("empty lines") {
    garbage.assign(1 << 18, '\n');
  }
  std::ofstream(dir.path() / "events.jsonl") << garbage << "\n";
  append_event(dir.path(), event("after it"));
  auto reader = open_reader(dir.path(), false);
  size_t steps = 0;
  for (;; ++steps) {
    const auto found = reader.next();
    REQUIRE(found);
    if (found->event) {
      CHECK(found->event->detail == "after it");
      break;
    }
    REQUIRE_FALSE(found->at_end);
  }
  CHECK(steps >= 4);
}

TEST_CASE("event log: what is no file is refused, and keeps nobody waiting") {
  const test::TempDir dir;
  const auto path = dir.path() / "events.jsonl";
  SUBCASE("a fifo") {
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  }
  SUBCASE("a link") {
    std::filesystem::create_symlink("/dev/zero", path);
  }
  SUBCASE("a directory") {
    std::filesystem::create_directory(path);
  }
  CHECK_FALSE(EventReader::open(dir.path(), true));
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

// Each of them finds the file full, and only one may give it its older name: the next would give
// that to the file after it.
TEST_CASE("event log: writers that meet at a full file lose nothing of it") {
  constexpr int kWriters = 4;
  const test::TempDir dir;
  const auto file = dir.path() / "events.jsonl";
  std::string full;
  append_event(dir.path(), event("old" + std::string(900, 'x')));
  {
    std::ifstream in(file);
    std::getline(in, full);
  }
  std::string lines;
  size_t old = 0;
  for (; lines.size() < (1u << 20); ++old) lines += full + "\n";
  for (int round = 0; round < 300; ++round) {
    std::filesystem::remove(dir.path() / "events.jsonl.1");
    std::ofstream(file, std::ios::trunc) << lines;
    std::barrier begin(kWriters);
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < kWriters; ++i) {
        writers.emplace_back([&] {
          begin.arrive_and_wait();
          for (int n = 0; n < 3; ++n) append_event(dir.path(), event("new"));
        });
      }
    }
    const auto all = read_all(dir.path());
    const auto is_new = [](const VmEvent& one) { return one.detail == "new"; };
    REQUIRE(std::ranges::count_if(all, is_new) == kWriters * 3);
    REQUIRE(all.size() == old + kWriters * 3);
  }
}

TEST_CASE("event log: two writers at once, and a follower has each line once") {
  constexpr int kEvents = 3000;  // of each: six files
  constexpr int kAhead = 200;    // of the other, and of who reads
  const test::TempDir dir;
  auto follower = open_reader(dir.path(), true);
  std::array<std::atomic<int>, 2> written{};
  std::atomic<int> seen = 0;
  std::vector<std::jthread> writers;
  for (size_t who = 0; who < 2; ++who) {
    writers.emplace_back([&, who] {
      for (int i = 0; i < kEvents; ++i) {
        while (i > written[1 - who] + kAhead || 2 * i > seen + 2 * kAhead)
          std::this_thread::yield();
        append_event(dir.path(),
                     event(std::to_string(who) + " " + std::to_string(i) + std::string(900, 'x')));
        ++written[who];
      }
    });
  }
  Details details;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (details.size() < 2 * kEvents && std::chrono::steady_clock::now() < give_up) {
    for (std::string& detail : read_now(follower)) details.push_back(std::move(detail));
    seen = static_cast<int>(details.size());
  }
  seen = 2 * kEvents;
  for (auto& writer : writers) writer.join();
  for (std::string& detail : read_now(follower)) details.push_back(std::move(detail));
  std::ranges::sort(details);
  CHECK(std::ranges::adjacent_find(details) == details.end());
  CHECK(details.size() == 2 * kEvents);
}
