// What is read of a Vm's logs, with a worker that the test plays.
#include <doctest/doctest.h>

#include <mutex>
#include <thread>

#include "host/saved/vm_directory.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Reason = wire::ExitEvent::Reason;

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

// Follows the log of a Vm on a thread of its own, as another process would.
class Follower {
 public:
  Follower(const FakeVm& fake, const std::filesystem::path& data_dir)
      : host_(data_dir), vm_(fake.attach(host_)), thread_([this] {
          ended_ = vm_.follow_logs(LogSource::app, [this](std::string_view text) { add(text); },
                                   {.cancel = &cancel_, .timeout = std::chrono::seconds(60)});
        }) {}
  ~Follower() {
    if (!thread_.joinable()) return;
    cancel_.cancel();
    thread_.join();
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  [[nodiscard]] std::string text() const {
    const std::scoped_lock lock(mutex_);
    return text_;
  }
  // Waits for it; what comes instead is given back.
  [[nodiscard]] std::string until(const std::string& text) const {
    for (int i = 0; i < 2000 && this->text().size() < text.size(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return this->text();
  }
  Result<void> wait() {
    thread_.join();
    return ended_;
  }
  void cancel() { cancel_.cancel(); }

 private:
  void add(std::string_view text) {
    const std::scoped_lock lock(mutex_);
    text_ += text;
  }

  mutable std::mutex mutex_;
  std::string text_;
  CancelToken cancel_;
  Result<void> ended_;
  FakeHost host_;
  Vm vm_;
  std::thread thread_;
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

TEST_CASE("vm logs: following ends with the limits, asleep or awake") {
  for (const bool asleep : {false, true}) {
    Printing t;
    if (asleep) t.suspend();
    Follower follower(t.fake, t.dir.path());
    t.fake.print("");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    follower.cancel();
    const auto ended = follower.wait();
    REQUIRE_FALSE(ended);
    CHECK(ended.error().code == ErrorCode::cancelled);
  }
}
