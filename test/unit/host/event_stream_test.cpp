// The events of a data directory as a stream.
#include "host/event_stream.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <thread>

#include "host/vm/vm_impl.hpp"
#include "microvm/runtime.hpp"
#include "unit/host/temp_dir.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using std::chrono::milliseconds;

namespace {

const CallLimits kSoon{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

struct Told {
  test::TempDir dir;
  std::optional<Runtime> runtime = open();

  [[nodiscard]] Runtime open() const {
    auto opened = Runtime::open({.data_dir = dir.path(), .log = {}, .on_event = {}});
    REQUIRE(opened);
    return std::move(*opened);
  }
  void tell(const std::string& detail) const {
    host::append_event(dir.path(), {.time = "2026-11-24T09:00:00Z",
                                    .vm_id = "0123456789ab",
                                    .kind = VmEvent::Kind::resumed,
                                    .cause = "call",
                                    .detail = detail});
  }
  [[nodiscard]] EventStream events(bool follow) const {
    auto stream = runtime->events({.follow = follow});
    REQUIRE_MESSAGE(stream, stream.error().message);
    return std::move(*stream);
  }
};

std::string next_detail(EventStream& events) {
  const auto event = events.next(kSoon);
  REQUIRE_MESSAGE(event, event.error().message);
  return *event ? (**event).detail : "the end";
}

bool is_readable(const EventStream& events, int timeout_ms) {
  pollfd fd{events.fd(), POLLIN, 0};
  return ::poll(&fd, 1, timeout_ms) == 1;
}

size_t inotify_instances() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ec;
    count += std::filesystem::read_symlink(entry, ec) == "anon_inode:inotify" ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("event stream: without follow it ends with what is there") {
  Told t;
  t.tell("one");
  t.tell("two");
  EventStream events = t.events(false);
  CHECK(is_readable(events, 0));
  CHECK(next_detail(events) == "one");
  CHECK(next_detail(events) == "two");
  for (int i = 0; i < 3; ++i) {
    CHECK(is_readable(events, 0));
    const auto end = events.try_next();
    REQUIRE(end);
    CHECK_FALSE(*end);
  }
  EventStream none = Told().events(false);
  CHECK(next_detail(none) == "the end");
}

TEST_CASE("event stream: nothing has happened is would_block, and the fd says when something has") {
  Told t;
  t.tell("one");
  EventStream events = t.events(true);
  CHECK(next_detail(events) == "one");
  const auto nothing = events.try_next();
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code == ErrorCode::would_block);
  for (int i = 0; i < 10; ++i) {
    while (is_readable(events, 0)) {
      REQUIRE(events.try_next().error().code == ErrorCode::would_block);
    }
    const std::string detail = std::to_string(i);
    std::jthread teller([&] { t.tell(detail); });
    const auto begin = std::chrono::steady_clock::now();
    CHECK(next_detail(events) == detail);
    // Nobody looks every now and then: it is told.
    CHECK(std::chrono::steady_clock::now() - begin < host::DirectoryWatches::kInAnyCase);
  }
}

TEST_CASE("event stream: the limits end the wait, and nothing is lost") {
  Told t;
  EventStream events = t.events(true);
  const auto late = events.next({.cancel = nullptr, .timeout = milliseconds(20)});
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CancelToken cancel;
  cancel.cancel();
  t.tell("one");
  CHECK(events.next({.cancel = &cancel, .timeout = {}}).error().code == ErrorCode::cancelled);
  CHECK(t.runtime->events({}, {.cancel = &cancel, .timeout = {}}).error().code ==
        ErrorCode::cancelled);
  CHECK(next_detail(events) == "one");
}

TEST_CASE("event stream: it ends with its runtime, after what was told until then") {
  Told t;
  EventStream events = t.events(true);
  std::jthread ending([&] {
    std::this_thread::sleep_for(milliseconds(50));
    t.tell("last");
    t.runtime.reset();
  });
  CHECK(next_detail(events) == "last");
  for (int i = 0; i < 2; ++i) {
    const auto over = events.next(kSoon);
    REQUIRE_FALSE(over);
    CHECK(over.error().code == ErrorCode::cancelled);
    CHECK(is_readable(events, 0));
  }
  ending.join();
}

// The Vms that die with it end in its own end, and by no other process.
TEST_CASE("event stream: what ends because its runtime does is told before the stream is over") {
  const test::TempDir dir;
  test::FakeHost host(dir.path());
  test::FakeVm fake(host, {.dies_with_owner = true});
  auto opened = host::open_events(dir.path(), host.core->watches, {.follow = true});
  REQUIRE(opened);
  EventStream events = std::move(*opened);
  const auto now = [&] { return events.try_next().error().code; };
  // As the last reference to one that this process has started.
  const auto vm = fake.attach(host);
  std::optional<ErrorCode> meanwhile;
  host.core->owned.adopt({vm.get(), [&, core = host.core](auto*) {
                            meanwhile = now();
                            core->emit({.vm_id = fake.id(),
                                        .kind = VmEvent::Kind::terminated,
                                        .cause = std::string(kCauseOwner),
                                        .end = VmEnd::terminated});
                          }});
  CHECK(now() == ErrorCode::would_block);
  host.core->end();
  CHECK(meanwhile == ErrorCode::would_block);
  const auto last = events.next(kSoon);
  REQUIRE_MESSAGE(last, last.error().message);
  REQUIRE(*last);
  CHECK((**last).vm_id == fake.id());
  CHECK((**last).cause == kCauseOwner);
  CHECK(events.next(kSoon).error().code == ErrorCode::cancelled);
}

TEST_CASE("event stream: one that does not follow can be read when the runtime has ended") {
  Told t;
  t.tell("one");
  EventStream events = t.events(false);
  t.runtime.reset();
  CHECK(next_detail(events) == "one");
  CHECK(next_detail(events) == "the end");
}

TEST_CASE("event stream: one thread follows two hundred, with one inotify instance") {
  constexpr size_t kStreams = 200;
  Told t;
  const size_t instances = inotify_instances();
  const base::Fd all(::epoll_create1(EPOLL_CLOEXEC));
  std::vector<EventStream> streams;
  std::vector<size_t> seen(kStreams);
  for (size_t i = 0; i < kStreams; ++i) {
    streams.push_back(t.events(true));
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    REQUIRE(::epoll_ctl(all.get(), EPOLL_CTL_ADD, streams.back().fd(), &event) == 0);
  }
  CHECK(inotify_instances() == instances + 1);
  constexpr size_t kEvents = 20;
  for (size_t i = 0; i < kEvents; ++i) t.tell(std::to_string(i));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::ranges::count(seen, kEvents) < static_cast<ptrdiff_t>(kStreams)) {
    REQUIRE(std::chrono::steady_clock::now() < give_up);
    std::array<epoll_event, 64> ready;
    const int count = ::epoll_wait(all.get(), ready.data(), ready.size(), 1000);
    for (int i = 0; i < count; ++i) {
      const size_t at = ready[static_cast<size_t>(i)].data.u64;
      const auto event = streams[at].try_next();
      if (event && *event) CHECK((**event).detail == std::to_string(seen[at]++));
    }
  }
}
