// What is read of a Vm's logs, with a worker that the test plays.
#include <doctest/doctest.h>

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <future>
#include <thread>

#include "host/saved/vm_directory.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using std::chrono::milliseconds;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Reason = wire::ExitEvent::Reason;

size_t count_threads() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(threads), end(threads)));
}

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

// Follows the log of a Vm as another process would.
class Follower {
 public:
  Follower(const FakeVm& fake, const std::filesystem::path& data_dir)
      : host_(data_dir), vm_(fake.attach(host_)), log_(must(vm_.follow_logs(LogSource::app))) {}

  // Waits for it; what comes instead is given back.
  std::string until(const std::string& text) {
    while (text_.size() < text.size() && take(kInTime)) {
    }
    return text_;
  }
  // To the end of the log.
  Result<void> wait() {
    while (take(kInTime)) {
    }
    return ended_;
  }
  // All that is there, until there is nothing.
  ErrorCode drain() {
    for (;;) {
      const auto piece = log_.try_read();
      if (!piece) return piece.error().code;
      REQUIRE(*piece);
      text_ += **piece;
    }
  }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool is_readable(int timeout_ms) const {
    pollfd fd{log_.fd(), POLLIN, 0};
    return ::poll(&fd, 1, timeout_ms) == 1;
  }
  LogStream& log() { return log_; }
  FakeHost& host() { return host_; }

 private:
  static LogStream must(Result<LogStream> log) {
    REQUIRE_MESSAGE(log, log.error().message);
    return std::move(*log);
  }
  bool take(const CallLimits& limits) {
    const auto piece = log_.read(limits);
    ended_ = piece ? Result<void>() : base::fail(piece.error());
    if (piece && *piece) text_ += **piece;
    return piece && *piece;
  }

  std::string text_;
  Result<void> ended_;
  FakeHost host_;
  Vm vm_;
  LogStream log_;
};

struct Printing {
  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake{host};
  Vm vm{fake.attach(host)};

  void suspend() {
    const auto slept = vm.suspend({}, kInTime);
    REQUIRE_MESSAGE(slept, slept.error().message);
  }
};

}  // namespace

TEST_CASE("vm logs: of a worker that was killed all is there that it had kept") {
  Printing t;
  t.fake.print("one\n");
  CHECK(*t.vm.logs(LogSource::app) == "one\n");
  t.fake.keep_log();
  t.fake.kill();
  CHECK(*t.vm.logs(LogSource::app) == "one\n");
  CHECK(t.vm.logs(LogSource::kernel)->empty());
  const FakeHost other(t.dir.path());
  CHECK(*Vm(t.fake.attach(other)).logs(LogSource::app) == "one\n");
}

TEST_CASE("vm logs: that nothing was kept is an error, never an empty log") {
  Printing t;
  t.fake.print("one\n");
  SUBCASE("by a worker that had not come to it") {
    std::filesystem::resize_file(t.fake.dir() / "logs", 0);
  }
  SUBCASE("by one of an older version") {
    std::filesystem::remove(t.fake.dir() / "logs");
  }
  SUBCASE("by one of an older version, in the life after") {
    t.fake.keep_log();
    const auto run = host::read_run(t.fake.dir());
    REQUIRE(run);
    host::VmRun older = *run;
    older.keeps_logs = false;
    REQUIRE(host::write_run(t.fake.dir(), older));
  }
  SUBCASE("by one that was killed in a life after") {
    t.suspend();
    std::filesystem::resize_file(t.fake.dir() / "logs", 10);
    std::filesystem::remove(t.fake.dir() / "exit");
  }
  t.fake.kill();
  const auto lost = t.vm.logs(LogSource::app, kInTime);
  REQUIRE_FALSE(lost);
  CHECK_FALSE(lost.error().message.empty());
}

TEST_CASE("vm logs: of a vm that sleeps, or is falling asleep, and it goes on sleeping") {
  Printing t;
  t.fake.print("one\n");
  t.fake.captured_bytes = 16ull << 20;
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  CHECK(*t.vm.logs(LogSource::app) == "one\n");
  while (t.vm.info()->state == VmState::suspending) std::this_thread::yield();
  CHECK(*t.vm.logs(LogSource::app) == "one\n");
  CHECK(t.vm.info()->state == VmState::suspended);
}

TEST_CASE("vm logs: who follows goes on over suspend and resume, with each byte once") {
  Printing t;
  t.fake.print("before\n");
  Follower follower(t.fake, t.dir.path());
  CHECK(follower.until("before\n") == "before\n");
  t.fake.print("now\n");
  t.suspend();
  t.fake.revive();
  t.fake.print("again\n");
  CHECK(follower.until("before\nnow\nagain\n") == "before\nnow\nagain\n");
  t.fake.end({Reason::power_off, {}});
  CHECK(follower.wait());
  CHECK(follower.text() == "before\nnow\nagain\n");
}

TEST_CASE("vm logs: what a life printed that the follower never saw comes with the next one") {
  Printing t;
  Follower follower(t.fake, t.dir.path());
  t.fake.print("1");
  CHECK(follower.until("1") == "1");
  std::string all = "1";
  for (int life = 2; life < 8; ++life) {
    t.fake.end({Reason::suspended, {}, {}});
    t.fake.revive();
    t.fake.print(std::to_string(life));
    all += std::to_string(life);
  }
  CHECK(follower.until(all) == all);
  t.fake.print("last");
  t.fake.end({Reason::terminated, {}, {}});
  CHECK(follower.wait());
  CHECK(follower.text() == all + "last");
}

TEST_CASE("vm logs: what a killed worker had not kept is no reason to miss what comes after") {
  Printing t;
  t.suspend();
  t.fake.revive();
  Follower follower(t.fake, t.dir.path());
  t.fake.print("kept ");
  t.fake.keep_log();
  t.fake.print("not kept ");
  CHECK(follower.until("kept not kept ") == "kept not kept ");
  t.fake.kill();
  t.fake.revive();  // as a resume of its saved state does
  t.fake.print("new");
  CHECK(follower.until("kept not kept new") == "kept not kept new");
}

TEST_CASE("vm logs: a follower that was cut off for its slowness goes on where it was") {
  Printing t;
  Follower follower(t.fake, t.dir.path());
  std::string all;
  for (int i = 0; i < 5; ++i) {
    t.fake.print("line " + std::to_string(i) + "\n");
    all += "line " + std::to_string(i) + "\n";
    CHECK(follower.until(all) == all);
    t.fake.cut_followers();
  }
  t.fake.end({Reason::power_off, {}});
  CHECK(follower.wait());
  CHECK(follower.text() == all);
}

TEST_CASE("vm logs: a worker of an older version is followed, and the next one after it") {
  Printing t;
  t.fake.has_no_positions = true;
  t.fake.print("old ");
  Follower follower(t.fake, t.dir.path());
  CHECK(follower.until("old ") == "old ");
  t.fake.print("more ");
  CHECK(follower.until("old more ") == "old more ");
  t.suspend();
  t.fake.has_no_positions = false;
  t.fake.revive();
  t.fake.print("new");
  CHECK(follower.until("old more new") == "old more new");
}

TEST_CASE("vm logs: following ends with the limits, asleep or awake, and loses nothing") {
  for (const bool asleep : {false, true}) {
    Printing t;
    if (asleep) t.suspend();
    Follower follower(t.fake, t.dir.path());
    const auto late = follower.log().read({.cancel = nullptr, .timeout = milliseconds(20)});
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ErrorCode::deadline_exceeded);
    CancelToken cancel;
    std::jthread canceller([cancel]() mutable {
      std::this_thread::sleep_for(milliseconds(20));
      cancel.cancel();
    });
    const auto cut = follower.log().read({.cancel = &cancel, .timeout = {}});
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::cancelled);
    if (asleep) t.fake.revive();
    t.fake.print("after");
    CHECK(follower.until("after") == "after");
  }
}

TEST_CASE("vm logs: nothing is there is would_block, and the fd says when something is") {
  Printing t;
  Follower follower(t.fake, t.dir.path());
  const auto settles = [&] {
    while (follower.is_readable(200)) CHECK(follower.drain() == ErrorCode::would_block);
  };
  settles();
  for (int life = 0; life < 3; ++life) {
    t.fake.print("one ");
    REQUIRE(follower.is_readable(20'000));
    CHECK(follower.drain() == ErrorCode::would_block);
    settles();
    t.suspend();
    while (follower.is_readable(200)) CHECK(follower.drain() == ErrorCode::would_block);
    t.fake.revive();
    REQUIRE(follower.is_readable(20'000));
  }
  t.fake.print("last");
  t.fake.end({Reason::power_off, {}});
  CHECK(follower.wait());
  CHECK(follower.text() == "one one one last");
  // For good.
  for (int i = 0; i < 3; ++i) {
    CHECK(follower.is_readable(0));
    const auto end = follower.log().try_read();
    REQUIRE(end);
    CHECK_FALSE(*end);
  }
}

TEST_CASE("vm logs: a worker that is silent keeps nobody who does not want to wait") {
  Printing t;
  t.fake.ignores_followers = true;
  Follower follower(t.fake, t.dir.path());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    CHECK(follower.drain() == ErrorCode::would_block);
    std::this_thread::sleep_for(milliseconds(5));
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  t.fake.print("never passed on");
  t.fake.end({Reason::power_off, {}});
  CHECK(follower.wait());
  CHECK(follower.text() == "never passed on");
}

TEST_CASE("vm logs: a worker that refuses is asked again by the next read") {
  Printing t;
  t.fake.refuses_followers = true;
  t.fake.print("one ");
  Follower follower(t.fake, t.dir.path());
  for (int i = 0; i < 2; ++i) {
    const auto refused = follower.log().read(kInTime);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::busy);
    CHECK(follower.is_readable(0));
  }
  t.fake.refuses_followers = false;
  CHECK(follower.until("one ") == "one ");
}

TEST_CASE("vm logs: following goes on when the runtime has ended") {
  Printing t;
  Follower follower(t.fake, t.dir.path());
  t.fake.print("one ");
  CHECK(follower.until("one ") == "one ");
  follower.host().core->stop_work();
  t.suspend();
  t.fake.revive();
  t.fake.print("two ");
  CHECK(follower.until("one two ") == "one two ");
  t.fake.end({Reason::power_off, {}});
  CHECK(follower.wait());
}

TEST_CASE("vm logs: a search that the runtime's end drops is made again") {
  Printing t;
  FakeHost host(t.dir.path());
  std::promise<void> go_on;
  const auto held = go_on.get_future().share();
  for (size_t i = 0; i < host::Errands::kMaxThreads; ++i) {
    REQUIRE(host.core->errands.add([held] { held.wait(); }));
  }
  auto log = Vm(t.fake.attach(host)).follow_logs(LogSource::app);
  REQUIRE(log);
  t.fake.print("one");
  std::jthread ending([&] { host.core->errands.stop(); });
  std::this_thread::sleep_for(milliseconds(50));
  go_on.set_value();
  ending.join();
  const auto piece = log->read(kInTime);
  REQUIRE_MESSAGE(piece, piece.error().message);
  CHECK(*piece == "one");
}

TEST_CASE("vm logs: a stream may be dropped at any moment") {
  Printing t;
  for (int i = 0; i < 50; ++i) {
    auto log = t.vm.follow_logs(LogSource::app);
    REQUIRE(log);
    if (i % 3 == 1) static_cast<void>(log->try_read());
    if (i % 3 == 2) std::this_thread::sleep_for(milliseconds(1));
    LogStream moved = std::move(*log);
  }
  t.suspend();
  for (int i = 0; i < 50; ++i) REQUIRE(t.vm.follow_logs(LogSource::app));
  CHECK(t.vm.info()->state == VmState::suspended);
}

TEST_CASE("vm logs: one thread follows two hundred, awake and asleep") {
  constexpr size_t kStreams = 200;
  Printing t;
  const base::Fd all(::epoll_create1(EPOLL_CLOEXEC));
  std::vector<LogStream> logs;
  std::vector<std::string> texts(kStreams);
  for (size_t i = 0; i < kStreams; ++i) {
    auto log = t.vm.follow_logs(LogSource::app);
    REQUIRE_MESSAGE(log, log.error().message);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    REQUIRE(::epoll_ctl(all.get(), EPOLL_CTL_ADD, log->fd(), &event) == 0);
    logs.push_back(std::move(*log));
  }
  const auto all_have = [&](const std::string& text) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < give_up) {
      if (std::ranges::count(texts, text) == static_cast<ptrdiff_t>(kStreams)) return true;
      std::array<epoll_event, 64> ready;
      const int count = ::epoll_wait(all.get(), ready.data(), ready.size(), 1000);
      for (int i = 0; i < count; ++i) {
        const size_t at = ready[static_cast<size_t>(i)].data.u64;
        const auto piece = logs[at].try_read();
        if (piece && *piece) texts[at] += **piece;
      }
    }
    return false;
  };
  t.fake.print("one ");
  CHECK(all_have("one "));
  const size_t threads = count_threads();
  t.suspend();
  t.fake.revive();
  t.fake.print("two ");
  CHECK(all_have("one two "));
  CHECK(count_threads() <= threads + host::Errands::kMaxThreads);
}
