// Calls that wait for a Vm without a thread of their own.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <condition_variable>
#include <filesystem>
#include <future>
#include <optional>
#include <thread>

#include "host/saved/change_lock.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using std::chrono::milliseconds;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Reason = wire::ExitEvent::Reason;
using SessionResult = Result<std::shared_ptr<host::VmSession>>;

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};
constexpr milliseconds kLong{20'000};
constexpr uint64_t kLongToPack = 48ull << 20;

// What was delivered, to be looked at by the test's thread.
template <class T>
class Inbox {
 public:
  auto handler() {
    return [this](Result<T> result) {
      const std::scoped_lock lock(mutex_);
      thread_ = std::this_thread::get_id();
      ++count_;
      last_ = std::move(result);
      changed_.notify_all();
    };
  }
  [[nodiscard]] bool wait_for(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, [&] { return count_ >= count; });
  }
  int count() {
    const std::scoped_lock lock(mutex_);
    return count_;
  }
  Result<T>& last() { return last_; }  // once nothing more can come
  std::thread::id thread() { return thread_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread::id thread_;
  int count_ = 0;
  Result<T> last_;
};

using SessionInbox = Inbox<std::shared_ptr<host::VmSession>>;
using SocketInbox = Inbox<base::Fd>;

struct Attached {
  explicit Attached(uint32_t max_waiting_calls = 4096) : host(dir.path(), max_waiting_calls) {}

  void reach() {
    const auto reached = vm.exec_collect({.argv = {"true"}}, {}, kInTime);
    REQUIRE_MESSAGE(reached, reached.error().message);
  }
  host::ChangeHold change_elsewhere() {
    auto hold = host::hold_change(fake.dir(), host::Limits({}), "test");
    REQUIRE(hold);
    return *hold;
  }
  // What was posted to the reactor before is through.
  void settle() {
    std::promise<void> through;
    host.core->reactor->post([&] { through.set_value(); });
    through.get_future().wait();
  }

  TempDir dir;
  FakeHost host;
  FakeVm fake{host};
  std::shared_ptr<Vm::Impl> impl = fake.attach(host);
  Vm vm{impl};
};

size_t threads_here() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("vm awaiting: one that runs is delivered by the reactor, not inside the call") {
  Attached t;
  t.reach();
  std::promise<void> go_on;
  t.host.core->reactor->post([&] { go_on.get_future().wait(); });
  SessionInbox inbox;
  const auto waiting = t.impl->when_awake("test", kLong, inbox.handler());
  CHECK(inbox.count() == 0);
  CHECK_FALSE(waiting->is_over());
  go_on.set_value();
  REQUIRE(inbox.wait_for(1));
  CHECK(inbox.last());
  CHECK(inbox.thread() != std::this_thread::get_id());
  t.settle();
  CHECK(waiting->is_over());
}

TEST_CASE("vm awaiting: a thousand wait for one resume, without a thread each") {
  Attached t;
  t.fake.captured_bytes = kLongToPack;
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  SessionInbox inbox;
  const size_t threads_before = threads_here();
  for (int i = 0; i < 1000; ++i) t.impl->when_awake("test", kLong, inbox.handler());
  CHECK(threads_here() <= threads_before + host::Errands::kMaxThreads);
  REQUIRE(inbox.wait_for(1000));
  t.settle();
  CHECK(inbox.count() == 1000);
  CHECK(inbox.last());
  CHECK(t.fake.resumes == 1);
  CHECK(t.host.told.of(VmEvent::Kind::resumed).size() == 1);
}

TEST_CASE("vm awaiting: who cancels is not called any more, and the others are") {
  Attached t;
  auto hold = t.change_elsewhere();
  SessionInbox cancelled;
  SessionInbox served;
  const auto waiting = t.impl->when_awake("test", kLong, cancelled.handler());
  t.impl->when_awake("test", kLong, served.handler());
  waiting->cancel();
  hold.reset();
  REQUIRE(served.wait_for(1));
  t.settle();
  CHECK(served.last());
  CHECK(cancelled.count() == 0);
}

TEST_CASE("vm awaiting: cancel waits for a delivery under way, and may come from inside one") {
  Attached t;
  t.reach();
  std::promise<void> inside;
  std::atomic<bool> left{false};
  const auto waiting = t.impl->when_awake("test", kLong, [&](const SessionResult&) {
    inside.set_value();
    std::this_thread::sleep_for(milliseconds(50));
    left = true;
  });
  inside.get_future().wait();
  waiting->cancel();
  CHECK(left);
  std::shared_ptr<host::AwaitedSession> own;
  own = std::make_shared<host::AwaitedSession>([&](const SessionResult&) { own->cancel(); });
  own->deliver({});
  CHECK(own->is_over());
}

TEST_CASE("vm awaiting: limits end the wait of one, not of the others") {
  Attached t;
  auto hold = t.change_elsewhere();
  SessionInbox hasty;
  SessionInbox patient;
  t.impl->when_awake("test", milliseconds(30), hasty.handler());
  t.impl->when_awake("test", kLong, patient.handler());
  REQUIRE(hasty.wait_for(1));
  CHECK(hasty.last().error().code == ErrorCode::deadline_exceeded);
  CHECK(patient.count() == 0);
  hold.reset();
  REQUIRE(patient.wait_for(1));
  CHECK(patient.last());
}

TEST_CASE("vm awaiting: a vm that dies meanwhile is what they hear, with its reason") {
  Attached t;
  auto hold = t.change_elsewhere();
  SessionInbox inbox;
  t.impl->when_awake("test", kLong, inbox.handler());
  t.fake.end({Reason::power_off, {}});
  hold.reset();
  REQUIRE(inbox.wait_for(1));
  CHECK(inbox.last().error().code == ErrorCode::vm_gone);
  CHECK(inbox.last().error().message.find("the guest powered off") != std::string::npos);
}

TEST_CASE("vm awaiting: beyond the limit of waiting calls is busy; who gave up makes room") {
  Attached t(2);
  auto hold = t.change_elsewhere();
  SessionInbox inbox;
  SessionInbox refused;
  const auto first = t.impl->when_awake("test", kLong, inbox.handler());
  t.impl->when_awake("test", kLong, inbox.handler());
  t.impl->when_awake("test", kLong, refused.handler());
  REQUIRE(refused.wait_for(1));
  CHECK(refused.last().error().code == ErrorCode::busy);
  first->cancel();
  t.impl->when_awake("test", kLong, inbox.handler());
  hold.reset();
  REQUIRE(inbox.wait_for(2));
  CHECK(inbox.last());
}

TEST_CASE("vm awaiting: one that is dropped while others wait for it is no harm") {
  Attached t;
  auto hold = t.change_elsewhere();
  SessionInbox inbox;
  t.impl->when_awake("test", kLong, inbox.handler());
  t.impl.reset();
  t.vm = Vm(t.fake.attach(t.host));
  hold.reset();
  t.reach();
}

TEST_CASE("vm awaiting: a runtime that ends does not wait for what others do with a vm") {
  Attached t;
  const auto hold = t.change_elsewhere();
  SessionInbox inbox;
  t.impl->when_awake("test", kLong, inbox.handler());
  const auto start = std::chrono::steady_clock::now();
  t.host.core->stop_work();
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("vm awaiting: a connect that blocks nobody gives a plain socket") {
  Attached t;
  t.fake.captured_bytes = kLongToPack;
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  SocketInbox inbox;
  for (int i = 0; i < 300; ++i) t.impl->connect_later(80, kLong, inbox.handler());
  REQUIRE(inbox.wait_for(300));
  t.settle();
  REQUIRE_MESSAGE(inbox.last(), inbox.last().error().message);
  const int fd = inbox.last()->get();
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
  CHECK(t.fake.resumes == 1);
}

TEST_CASE("vm awaiting: connects that were cancelled make room for others") {
  constexpr int kMost = 4;
  Attached t(kMost);
  std::optional<host::ChangeHold> elsewhere = t.change_elsewhere();
  SocketInbox gave_up;
  for (int i = 0; i < kMost; ++i) t.impl->connect_later(80, kLong, gave_up.handler())->cancel();
  SocketInbox inbox;
  t.impl->connect_later(80, kLong, inbox.handler());
  t.settle();
  CHECK(inbox.count() == 0);  // it waits, and is not told that there is no room
  elsewhere.reset();
  REQUIRE(inbox.wait_for(1));
  CHECK(inbox.last());
  CHECK(gave_up.count() == 0);
}

TEST_CASE("vm awaiting: who waits is told when the last handle goes before anything was tried") {
  Attached t;
  std::promise<void> go_on;
  const auto held = go_on.get_future().share();
  for (size_t i = 0; i < host::Core::kMaxWakes; ++i) {
    CHECK(t.host.core->wakes.add([held] { held.wait(); }));
  }
  auto impl = t.fake.attach(t.host);
  SocketInbox inbox;
  impl->connect_later(80, kLong, inbox.handler());
  impl.reset();
  REQUIRE(inbox.wait_for(1));
  CHECK(inbox.last().error().code == ErrorCode::vm_gone);
  go_on.set_value();
}

TEST_CASE("vm awaiting: a connect that fails says why") {
  Attached t;
  t.reach();
  SocketInbox inbox;
  SUBCASE("refused") {
    t.fake.refuse_errno = ECONNREFUSED;
    t.impl->connect_later(80, kLong, inbox.handler());
    REQUIRE(inbox.wait_for(1));
    CHECK(inbox.last().error().code == ErrorCode::connection_refused);
    CHECK(inbox.last().error().message.starts_with("connect to guest port 80"));
  }
  SUBCASE("an agent that hangs up is tried three times") {
    t.fake.agent_hangs_up = true;
    const int before = t.fake.streams;
    t.impl->connect_later(80, kLong, inbox.handler());
    REQUIRE(inbox.wait_for(1));
    CHECK(inbox.last().error().code == ErrorCode::vm_gone);
    CHECK(t.fake.streams == before + 3);
  }
  SUBCASE("an agent that says nothing") {
    t.fake.agent_is_silent = true;
    t.impl->connect_later(80, milliseconds(50), inbox.handler());
    REQUIRE(inbox.wait_for(1));
    CHECK(inbox.last().error().code == ErrorCode::deadline_exceeded);
    t.fake.agent_is_silent = false;
  }
  SUBCASE("a worker that dies meanwhile") {
    t.fake.agent_is_silent = true;
    const int before = t.fake.streams;
    t.impl->connect_later(80, kLong, inbox.handler());
    while (t.fake.streams == before) std::this_thread::yield();
    t.fake.kill();
    t.fake.agent_is_silent = false;
    REQUIRE(inbox.wait_for(1));
    // The agent's answer may have been faster than the news.
    if (!inbox.last()) CHECK(inbox.last().error().code == ErrorCode::vm_gone);
  }
  SUBCASE("a cancelled one is silent") {
    t.fake.agent_is_silent = true;
    const auto waiting = t.impl->connect_later(80, kLong, inbox.handler());
    waiting->cancel();
    t.fake.agent_is_silent = false;
    t.reach();
    t.settle();
    CHECK(inbox.count() == 0);
  }
}
