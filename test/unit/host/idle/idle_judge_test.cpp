#include "host/idle/idle_judge.hpp"

#include <doctest/doctest.h>

#include <vector>

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;

namespace {

// One look: when, at what, and what is to come of it.
struct Look {
  int at_s = 0;
  VmState state = VmState::running;
  GuestActivity guest;
  bool kept_awake = false;
  bool answers = true;
  IdleAction wanted = IdleAction::none;
  uint64_t resumes = 0;
};

struct Story {
  const char* name = "";
  IdlePolicy policy;
  std::vector<Look> looks;
};

IdlePolicy idle_after(int seconds) {
  IdlePolicy policy;
  policy.idle_after = std::chrono::seconds(seconds);
  return policy;
}

IdlePolicy limits(int suspended_s, int lifetime_s, bool counts_sleep = false) {
  IdlePolicy policy;
  policy.suspended_for = std::chrono::seconds(suspended_s);
  policy.lifetime = std::chrono::seconds(lifetime_s);
  policy.lifetime_counts_sleep = counts_sleep;
  return policy;
}

constexpr auto kSuspend = IdleAction::suspend_idle;
constexpr auto kAsleep = VmState::suspended;
constexpr auto kRuns = VmState::running;

const std::vector<Story> kStories = {
    {"a guest that does nothing is suspended in time",
     idle_after(60),
     {{10}, {30}, {50}, {69}, {71, kRuns, {}, false, true, kSuspend}}},
    {"a suspend that fails is not tried again at each look",
     idle_after(60),
     {{10},
      {71, kRuns, {}, false, true, kSuspend},
      {72},
      {130},
      {132, kRuns, {}, false, true, kSuspend}}},
    {"a sleep between two looks begins the count anew",
     idle_after(60),
     {{10},
      {69},
      {72, kRuns, {}, false, true, IdleAction::none, 1},
      {131, kRuns, {}, false, true, IdleAction::none, 1},
      {133, kRuns, {}, false, true, kSuspend, 1}}},
    {"a program of exec keeps it awake, the count begins after it",
     idle_after(60),
     {{10, kRuns, {.programs = 1}},
      {80, kRuns, {.programs = 1}},
      {100},
      {139},
      {141, kRuns, {}, false, true, kSuspend}}},
    {"bytes through its ports keep it awake",
     idle_after(60),
     {{10},
      {50, kRuns, {.stream_bytes = 1}},
      {90, kRuns, {.stream_bytes = 1}},
      {111, kRuns, {.stream_bytes = 1}, false, true, kSuspend}}},
    {"a compiling job is busy by its use of the cpu, a waiting server is not",
     idle_after(60),
     {{10, kRuns, {.cpu_us = 0}},
      {50, kRuns, {.cpu_us = 20'000'000}},
      {90, kRuns, {.cpu_us = 20'100'000}},
      {111, kRuns, {.cpu_us = 20'200'000}, false, true, kSuspend}}},
    {"a handle of the host keeps it awake",
     idle_after(60),
     {{10}, {70, kRuns, {}, true}, {129}, {131, kRuns, {}, false, true, kSuspend}}},
    {"a file in the guest keeps it awake",
     idle_after(60),
     {{10}, {70, kRuns, {.kept_awake = true}}, {131, kRuns, {}, false, true, kSuspend}}},
    {"a guest that does not answer is not idle",
     idle_after(60),
     {{10}, {70, kRuns, {}, false, false}, {80}, {129}, {141, kRuns, {}, false, true, kSuspend}}},
    {"a guest may ask for its suspension, without a policy too",
     IdlePolicy{},
     {{10}, {20, kRuns, {.wants_suspend = true}, false, true, IdleAction::suspend_asked}}},
    {"after a resume the count begins anew",
     idle_after(60),
     {{10},
      {30},
      {71, kRuns, {}, false, true, kSuspend},
      {80, kAsleep},
      {90},
      {149},
      {151, kRuns, {}, false, true, kSuspend}}},
    {"one that sleeps too long is terminated",
     limits(100, 0),
     {{10, kAsleep}, {109, kAsleep}, {110, kAsleep, {}, false, true, IdleAction::terminate_slept}}},
    {"waking ends the time asleep",
     limits(100, 0),
     {{10, kAsleep}, {100, kAsleep}, {105}, {110, kAsleep}, {209, kAsleep}}},
    {"the lifetime ends it, whatever it does",
     limits(0, 100),
     {{99, kRuns, {.programs = 5}, true},
      {100, kRuns, {.programs = 5}, true, true, IdleAction::terminate_lifetime}}},
    {"sleep is not part of the lifetime",
     limits(0, 100),
     {{50, kAsleep},
      {500, kAsleep},
      {510},
      {555},
      {560, kRuns, {}, false, true, IdleAction::terminate_lifetime}}},
    {"unless the policy says so",
     limits(0, 100, true),
     {{50, kAsleep}, {100, kAsleep, {}, false, true, IdleAction::terminate_lifetime}}},
    {"one that has ended needs nothing", limits(10, 10), {{100, VmState::terminated}}},
    {"zero times mean never",
     IdlePolicy{},
     {{10}, {100'000}, {200'000, kAsleep}, {900'000, kAsleep}}},
};

}  // namespace

TEST_CASE("idle judge: its decisions, by a table") {
  for (const Story& story : kStories) {
    INFO(story.name);
    const IdleJudge::Time start{};
    IdleJudge judge(story.policy, start);
    for (const Look& look : story.looks) {
      INFO("at ", look.at_s, " s");
      IdleJudge::Sight sight{.state = look.state,
                             .activity = {},
                             .kept_awake = look.kept_awake,
                             .resumes = look.resumes};
      if (look.answers && look.state == VmState::running) sight.activity = look.guest;
      CHECK(judge.look(start + std::chrono::seconds(look.at_s), sight) == look.wanted);
    }
  }
}

TEST_CASE("idle judge: it looks a few times within its shortest time") {
  const IdleJudge::Time start{};
  CHECK(IdleJudge(idle_after(60), start).interval() == milliseconds(5000));
  CHECK(IdleJudge(idle_after(8), start).interval() == milliseconds(1000));
  CHECK(IdleJudge(limits(0, 4), start).interval() == milliseconds(500));
  IdlePolicy hasty;
  hasty.idle_after = milliseconds(1);
  CHECK(IdleJudge(hasty, start).interval() == milliseconds(100));
}
