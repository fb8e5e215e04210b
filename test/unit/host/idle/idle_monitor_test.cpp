#include "host/idle/idle_monitor.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <future>
#include <mutex>

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr milliseconds kSoon{100};
constexpr IdlePolicy kPolicy{.idle_after = kSoon, .suspended_for = {}, .lifetime = {}};

// A Vm: what is seen of it can be set, and what is done with it is waited for.
class Target : public IdleTarget {
 public:
  IdleJudge::Sight look() override {
    std::unique_lock lock(mutex_);
    ++looks_;
    changed_.notify_all();
    const auto sight = sight_;
    lock.unlock();
    if (until.valid()) until.wait();
    return sight;
  }
  void act(IdleAction action) override {
    const std::scoped_lock lock(mutex_);
    acts_.push_back(action);
    // What is done with it changes what is seen.
    if (action == IdleAction::suspend_idle || action == IdleAction::suspend_asked) {
      sight_.state = VmState::suspended;
    } else {
      sight_.state = VmState::terminated;
    }
    changed_.notify_all();
  }

  void set(const IdleJudge::Sight& sight) {
    const std::scoped_lock lock(mutex_);
    sight_ = sight;
  }
  bool is_seen(int times) {
    return eventually([&] { return looks_ >= times; });
  }
  int looks() {
    const std::scoped_lock lock(mutex_);
    return looks_;
  }
  // What was done, once it is that much.
  std::vector<IdleAction> acts(size_t count) {
    eventually([&] { return acts_.size() >= count; });
    const std::scoped_lock lock(mutex_);
    return acts_;
  }

  std::shared_future<void> until;  // a look ends then

 private:
  template <class F>
  bool eventually(F holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(20), holds);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  IdleJudge::Sight sight_;
  int looks_ = 0;
  std::vector<IdleAction> acts_;
};

constexpr IdleJudge::Sight kIdle{.activity = GuestActivity{}};

}  // namespace

TEST_CASE("idle monitor: each thing that a policy says is done, once") {
  using Acts = std::vector<IdleAction>;
  struct Row {
    const char* name;
    IdlePolicy policy;
    IdleJudge::Sight sight;
    Acts acts;
  };
  const IdlePolicy asleep_for{.idle_after = {}, .suspended_for = kSoon, .lifetime = {}};
  const IdlePolicy both{.idle_after = kSoon, .suspended_for = kSoon, .lifetime = {}};
  const IdlePolicy lives_for{.idle_after = {}, .suspended_for = {}, .lifetime = kSoon};
  const Row rows[] = {
      {"an idle one is suspended", kPolicy, kIdle, {IdleAction::suspend_idle}},
      {"and terminated when it has slept",
       both,
       kIdle,
       {IdleAction::suspend_idle, IdleAction::terminate_slept}},
      {"one that asks is suspended",
       kPolicy,
       {.activity = GuestActivity{.wants_suspend = true}},
       {IdleAction::suspend_asked}},
      {"one that sleeps is terminated",
       asleep_for,
       {.state = VmState::suspended},
       {IdleAction::terminate_slept}},
      {"one that has lived is terminated", lives_for, {}, {IdleAction::terminate_lifetime}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const auto target = std::make_shared<Target>();
    target->set(row.sight);
    IdleMonitor monitor;
    monitor.add(target, row.policy);
    CHECK(target->acts(row.acts.size()) == row.acts);
    monitor.stop();
    CHECK(target->acts(row.acts.size()) == row.acts);
  }
}

TEST_CASE("idle monitor: a busy one is looked at and left alone") {
  IdleMonitor monitor;
  const auto busy = std::make_shared<Target>();
  busy->set({.activity = GuestActivity{.programs = 1}});
  const auto unreachable = std::make_shared<Target>();
  const auto kept = std::make_shared<Target>();
  kept->set({.activity = GuestActivity{}, .kept_awake = true});
  const auto idle = std::make_shared<Target>();
  idle->set(kIdle);
  for (const auto& target : {busy, unreachable, kept, idle}) monitor.add(target, kPolicy);
  REQUIRE(idle->acts(1).size() == 1);
  // As often again as the idle one was looked at before it was put to sleep.
  const int enough = 2 * idle->looks() + 2;
  for (const auto& target : {busy, unreachable, kept}) CHECK(target->is_seen(enough));
  monitor.stop();
  for (const auto& target : {busy, unreachable, kept}) CHECK(target->acts(0).empty());
}

TEST_CASE("idle monitor: guests that do not answer delay nobody else") {
  std::promise<void> end;
  const auto stuck = std::make_shared<Target>();
  const auto stuck_too = std::make_shared<Target>();
  const auto other = std::make_shared<Target>();
  stuck->until = stuck_too->until = end.get_future().share();
  IdleMonitor monitor;
  for (const auto& target : {stuck, stuck_too, other}) monitor.add(target, kPolicy);
  CHECK(other->is_seen(5));
  CHECK(stuck->is_seen(1));
  CHECK(stuck_too->is_seen(1));
  CHECK(stuck->looks() == 1);  // one look at a time
  end.set_value();
  CHECK(stuck->is_seen(3));
}

TEST_CASE("idle monitor: what has ended or is gone is not looked at again") {
  IdleMonitor monitor;
  const auto ended = std::make_shared<Target>();
  ended->set({.state = VmState::terminated});
  auto gone = std::make_shared<Target>();
  const auto other = std::make_shared<Target>();
  for (const auto& target : {ended, gone, other}) monitor.add(target, kPolicy);
  gone.reset();
  CHECK(other->is_seen(4));
  CHECK(ended->looks() == 1);
}

TEST_CASE("idle monitor: one that was stopped takes nobody any more") {
  IdleMonitor stopped;
  stopped.stop();
  IdleMonitor running;
  const auto refused = std::make_shared<Target>();
  const auto taken = std::make_shared<Target>();
  stopped.add(refused, kPolicy);
  running.add(taken, kPolicy);
  CHECK(taken->is_seen(4));
  CHECK(refused->looks() == 0);
}
