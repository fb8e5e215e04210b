#include "host/idle/idle_monitor.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;

namespace {

constexpr IdlePolicy kPolicy{.idle_after = milliseconds(100), .suspended_for = {}, .lifetime = {}};

class Target : public IdleTarget {
 public:
  IdleJudge::Sight look() override {
    ++looks;
    if (until.valid()) until.wait();
    return {.state = state, .activity = {}, .kept_awake = false, .resumes = 0};
  }
  void act(IdleAction) override {}

  bool is_seen(int times) const {
    for (int i = 0; i < 1000 && looks < times; ++i) std::this_thread::sleep_for(milliseconds(10));
    return looks >= times;
  }

  std::atomic<VmState> state = VmState::running;
  std::atomic<int> looks = 0;
  std::shared_future<void> until;  // a look ends then
};

}  // namespace

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
  CHECK(stuck->looks == 1);  // one look at a time
  end.set_value();
  CHECK(stuck->is_seen(3));
}

TEST_CASE("idle monitor: what has ended or is gone is not looked at again") {
  IdleMonitor monitor;
  const auto ended = std::make_shared<Target>();
  ended->state = VmState::terminated;
  auto gone = std::make_shared<Target>();
  const auto other = std::make_shared<Target>();
  for (const auto& target : {ended, gone, other}) monitor.add(target, kPolicy);
  gone.reset();
  CHECK(other->is_seen(4));
  CHECK(ended->looks == 1);
  monitor.stop();
  const int looks = other->looks;
  monitor.add(other, kPolicy);
  std::this_thread::sleep_for(milliseconds(300));
  CHECK(other->looks == looks);
}
