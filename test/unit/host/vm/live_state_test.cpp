#include "host/vm/live_state.hpp"

#include <doctest/doctest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

using namespace microvm;
using namespace microvm::host;

namespace {

using P = LivePhase;
constexpr P kAll[] = {P::apart,  P::met,         P::running, P::suspending,
                      P::waking, P::terminating, P::ended};

Limits soon() {
  return Limits({}, std::chrono::milliseconds(1));
}

Limits in_time() {
  return Limits({}, std::chrono::seconds(20));
}

std::shared_ptr<VmSession> make_session() {
  return std::make_shared<VmSession>(VmSession{nullptr, AgentClient(nullptr)});
}

const VmEnding kEnd{VmEnd::powered_off, "the guest powered off"};

// One that was brought into a phase the way it comes about.
struct Brought {
  explicit Brought(P phase) {
    if (phase == P::apart) return;
    if (phase == P::ended) {
      live.ended(kEnd);
    } else if (phase == P::met) {
      REQUIRE(live.meet(session));
    } else {
      live.started({.session = session, .worker = {}, .lock = {}, .times = {}});
    }
    if (phase == P::suspending) REQUIRE(live.begin_suspend());
    if (phase == P::waking) REQUIRE(live.begin_wake());
    if (phase == P::terminating) REQUIRE(live.begin_end());
    REQUIRE(live.view().phase == phase);
  }
  LiveState live;
  std::shared_ptr<VmSession> session = make_session();
};

struct Move {
  const char* name;
  std::function<void(Brought&)> act;
  P becomes[kLivePhases];  // from each, in the order of LivePhase
};

const std::vector<Move> kMoves = {
    {"started",
     [](Brought& b) { b.live.started({make_session(), {}, {}, {}}); },
     {P::running, P::running, P::running, P::suspending, P::waking, P::terminating, P::ended}},
    {"meet",
     [](Brought& b) { b.live.meet(make_session()); },
     {P::met, P::met, P::running, P::suspending, P::waking, P::terminating, P::ended}},
    {"settle",
     [](Brought& b) { b.live.settle(b.session); },
     {P::apart, P::running, P::running, P::suspending, P::waking, P::terminating, P::ended}},
    {"lost",
     [](Brought& b) { b.live.lost(b.session); },
     {P::apart, P::apart, P::apart, P::suspending, P::waking, P::terminating, P::ended}},
    {"begin_suspend",
     [](Brought& b) { b.live.begin_suspend(); },
     {P::apart, P::suspending, P::suspending, P::suspending, P::waking, P::terminating, P::ended}},
    {"end_suspend",
     [](Brought& b) { b.live.end_suspend(LiveState::Slept::yes); },
     {P::apart, P::met, P::running, P::apart, P::waking, P::terminating, P::ended}},
    {"end_suspend, it runs on",
     [](Brought& b) { b.live.end_suspend(LiveState::Slept::runs_on); },
     {P::apart, P::met, P::running, P::running, P::waking, P::terminating, P::ended}},
    {"begin_wake",
     [](Brought& b) { b.live.begin_wake(); },
     {P::waking, P::waking, P::waking, P::waking, P::waking, P::terminating, P::ended}},
    {"end_wake",
     [](Brought& b) { b.live.end_wake(); },
     {P::apart, P::met, P::running, P::suspending, P::running, P::terminating, P::ended}},
    {"begin_end",
     [](Brought& b) { b.live.begin_end(); },
     {P::terminating, P::terminating, P::terminating, P::terminating, P::waking, P::terminating,
      P::ended}},
    {"end_end",
     [](Brought& b) { b.live.end_end(); },
     {P::apart, P::met, P::running, P::suspending, P::waking, P::running, P::ended}},
    {"ended",
     [](Brought& b) { b.live.ended(kEnd); },
     {P::ended, P::ended, P::ended, P::suspending, P::waking, P::terminating, P::ended}},
};

}  // namespace

TEST_CASE("live state: every move from every phase leads where the table says, or nowhere") {
  for (const Move& move : kMoves) {
    for (size_t from = 0; from < kLivePhases; ++from) {
      Brought brought(kAll[from]);
      move.act(brought);
      const P now = brought.live.view().phase;
      INFO(move.name << " from " << live_phase_name(kAll[from]) << ": " << live_phase_name(now));
      CHECK(now == move.becomes[from]);
      CHECK((now == kAll[from] || may_become(kAll[from], now)));
    }
  }
}

TEST_CASE("live state: the table of moves") {
  // Not the code's own table: what each phase is for.
  const auto count = [](P phase, bool from) {
    int moves = 0;
    for (const P other : kAll) moves += from ? may_become(phase, other) : may_become(other, phase);
    return moves;
  };
  for (const P phase : kAll) CHECK_FALSE(may_become(phase, phase));
  CHECK(count(P::ended, true) == 0);
  CHECK(count(P::suspending, false) == 2);  // only what talks with a guest is put to sleep
  CHECK_FALSE(may_become(P::apart, P::suspending));
  CHECK_FALSE(may_become(P::waking, P::terminating));  // the end waits for the wake-up
  CHECK_FALSE(may_become(P::terminating, P::waking));
  CHECK_FALSE(may_become(P::suspending, P::ended));  // it is as saved, or goes on, or is ended
}

TEST_CASE("live state: a change shows what came of it") {
  SUBCASE("a wake-up whose worker came up") {
    Brought vm(P::apart);
    REQUIRE(vm.live.begin_wake());
    vm.live.started({vm.session, {}, {}, {}});
    CHECK(vm.live.view().phase == P::waking);
    CHECK(vm.live.settled() == nullptr);  // its resume hook is not through
    vm.live.end_wake();
    CHECK(vm.live.settled() == vm.session);
  }
  SUBCASE("a wake-up that failed") {
    Brought vm(P::apart);
    REQUIRE(vm.live.begin_wake());
    vm.live.end_wake();
    CHECK(vm.live.view().phase == P::apart);
  }
  SUBCASE("a wake-up that found it running in the hands of another process") {
    Brought vm(P::apart);
    REQUIRE(vm.live.begin_wake());
    REQUIRE(vm.live.meet(vm.session));
    vm.live.end_wake();
    CHECK(vm.live.view().phase == P::met);
  }
  SUBCASE("a wake-up under which the worker died") {
    Brought vm(P::suspending);
    REQUIRE(vm.live.begin_wake());
    vm.live.lost(vm.session);
    vm.live.end_wake();
    CHECK(vm.live.view().phase == P::apart);
    CHECK(vm.live.view().session == nullptr);
    CHECK(vm.live.last_session() == vm.session);
  }
  SUBCASE("a suspend that is stopped by a resume no longer decides") {
    Brought vm(P::suspending);
    REQUIRE(vm.live.begin_wake());
    vm.live.end_suspend(LiveState::Slept::yes);
    CHECK(vm.live.view().phase == P::waking);
    vm.live.end_wake();
    CHECK(vm.live.view().phase == P::running);
  }
  SUBCASE("an end that nothing came of leaves what was there") {
    Brought vm(P::met);
    REQUIRE(vm.live.begin_end());
    vm.live.end_end();
    CHECK(vm.live.view().phase == P::met);
  }
  SUBCASE("the first reason counts, also one that is known before the change is over") {
    Brought vm(P::waking);
    CHECK(vm.live.ended(kEnd).reason == kEnd.reason);
    CHECK(vm.live.ended({VmEnd::killed, "later"}).reason == kEnd.reason);
    CHECK(vm.live.view().phase == P::waking);
    vm.live.end_wake();
    CHECK(vm.live.view().phase == P::ended);
  }
}

TEST_CASE("live state: who is served without looking closer") {
  for (const P phase : kAll) {
    const Brought vm(phase);
    INFO(live_phase_name(phase));
    CHECK((vm.live.settled() != nullptr) == (phase == P::running || phase == P::terminating));
  }
  Brought met(P::met);
  REQUIRE(met.live.begin_end());
  CHECK(met.live.settled() == nullptr);  // nobody has seen that it was not being changed
}

TEST_CASE("live state: words about an earlier worker change nothing") {
  Brought vm(P::running);
  const auto earlier = make_session();
  vm.live.lost(earlier);
  vm.live.settle(earlier);
  CHECK(vm.live.view().session == vm.session);
  vm.live.reaped(nullptr, "its worker was ended by SIGSEGV");
  CHECK(vm.live.killed() == "its worker was ended by SIGSEGV");
  CHECK(vm.live.started({make_session(), {}, {}, {}}) == vm.session);
  CHECK(vm.live.killed().empty());
}

TEST_CASE("live state: of two that meet a worker one is kept") {
  Brought vm(P::apart);
  REQUIRE(vm.live.meet(vm.session));
  CHECK_FALSE(vm.live.meet(make_session()));
  CHECK(vm.live.view().session == vm.session);
}

TEST_CASE("live state: remains are removed once") {
  LiveState live;
  CHECK(live.begin_clean_up());
  CHECK_FALSE(live.begin_clean_up());
}

TEST_CASE("live state: what is held is given out as copies") {
  LiveState live;
  CHECK_FALSE(live.has_lock());
  CHECK_FALSE(live.copy_lock()->valid());
  CHECK_FALSE(live.copy_logs()->has_value());
  live.started({make_session(), {}, base::Fd(::eventfd(0, 0)), {}});
  CHECK(live.has_lock());
  CHECK(live.copy_lock()->valid());
  live.started({make_session(), {}, {}, {}});  // the owner's lock stays
  CHECK(live.has_lock());
  live.drop_lock();
  CHECK_FALSE(live.has_lock());
  live.keep_logs({{}, {}, base::Fd(::eventfd(0, 0))});
  const auto logs = live.copy_logs();
  REQUIRE((logs && *logs));
  CHECK((*logs)->app.valid());
  CHECK_FALSE((*logs)->kernel.valid());
}

TEST_CASE("live state: what each call does in each state") {
  using V = Verdict;
  struct Row {
    VmCall call;
    V running, suspending, suspended, terminating, terminated;
  };
  const Row rows[] = {
      {VmCall::use, V::go_on, V::wake, V::wake, V::wait, V::gone},
      {VmCall::suspend, V::go_on, V::busy, V::nothing, V::busy, V::gone},
      {VmCall::resume, V::nothing, V::wake, V::wake, V::busy, V::gone},
      {VmCall::rollback, V::go_on, V::go_on, V::go_on, V::go_on, V::gone},
      {VmCall::terminate, V::go_on, V::go_on, V::go_on, V::go_on, V::nothing},
  };
  for (const Row& row : rows) {
    INFO("call " << static_cast<int>(row.call));
    CHECK(judge(row.call, VmState::running) == row.running);
    CHECK(judge(row.call, VmState::suspending) == row.suspending);
    CHECK(judge(row.call, VmState::suspended) == row.suspended);
    CHECK(judge(row.call, VmState::terminating) == row.terminating);
    CHECK(judge(row.call, VmState::terminated) == row.terminated);
  }
}

// The first has begun and is in the middle of it; the second comes. One that changes something
// waits for its turn; one that only uses the guest is served where it runs.
TEST_CASE("live state: every pair of callers at once") {
  struct First {
    const char* name;
    P start;
    std::function<void(Brought&)> begin;
    std::function<void(Brought&)> end;
    bool serves;  // calls that only use the guest, meanwhile
    P after;
  };
  const std::vector<First> firsts = {
      {"suspend, its guest being stopped", P::running, [](Brought&) {}, [](Brought&) {}, true,
       P::running},
      {"suspend, its guest stopped", P::running, [](Brought& b) { b.live.begin_suspend(); },
       [](Brought& b) { b.live.end_suspend(LiveState::Slept::yes); }, false, P::apart},
      {"resume", P::apart, [](Brought& b) { b.live.begin_wake(); },
       [](Brought& b) {
         b.live.started({b.session, {}, {}, {}});
         b.live.end_wake();
       },
       false, P::running},
      {"resume of one that is being suspended", P::suspending,
       [](Brought& b) { b.live.begin_wake(); }, [](Brought& b) { b.live.end_wake(); }, false,
       P::running},
      {"fork or checkpoint", P::running, [](Brought&) {}, [](Brought&) {}, true, P::running},
      {"rollback", P::running, [](Brought& b) { b.live.begin_wake(); },
       [](Brought& b) {
         b.live.lost(b.session);
         b.live.started({b.session, {}, {}, {}});
         b.live.end_wake();
       },
       false, P::running},
      {"terminate", P::running, [](Brought& b) { b.live.begin_end(); },
       [](Brought& b) {
         b.live.ended(kEnd);
         b.live.end_end();
       },
       true, P::ended},
      {"the worker's death", P::running, [](Brought& b) { b.live.lost(b.session); },
       [](Brought&) {}, false, P::apart},
  };
  for (const First& first : firsts) {
    INFO(first.name);
    Brought vm(first.start);
    REQUIRE(vm.live.begin_change(in_time(), "first"));
    first.begin(vm);
    CHECK((vm.live.settled() != nullptr) == first.serves);
    // suspend, resume, fork, checkpoint, rollback, terminate, an idle decision: all take a turn.
    CHECK(vm.live.begin_change(soon(), "second").error().code == ErrorCode::deadline_exceeded);
    Result<void> second;
    std::atomic<bool> through{false};
    std::thread waiting([&] {
      second = vm.live.begin_change(in_time(), "second");
      CHECK(through);  // not before the first is
      CHECK(vm.live.view().phase == first.after);
      vm.live.end_change();
    });
    first.end(vm);
    through = true;
    vm.live.end_change();
    waiting.join();
    CHECK(second);
  }
}

TEST_CASE("live state: changes of many threads never overlap, and none is forgotten") {
  LiveState live;
  std::atomic<int> inside{0};
  std::atomic<int> done{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        CancelToken token;
        for (int round = 0; round < 200; ++round) {
          // With a token, with a deadline, with neither: each waits in a way of its own.
          const Limits limits({.cancel = i % 3 == 0 ? &token : nullptr, .timeout = {}},
                              std::chrono::seconds(i % 3 == 1 ? 60 : 0));
          REQUIRE(live.begin_change(limits, "test"));
          CHECK(++inside == 1);
          --inside;
          ++done;
          live.end_change();
        }
      });
    }
  }
  CHECK(done == 1600);
  CHECK_FALSE(live.is_changing());
}

TEST_CASE("live state: a wait for a turn ends with its limits") {
  LiveState live;
  REQUIRE(live.begin_change(in_time(), "first"));
  CancelToken token;
  token.cancel();
  const auto cancelled = live.begin_change(Limits({.cancel = &token, .timeout = {}}), "second");
  CHECK(cancelled.error().code == ErrorCode::cancelled);
  CHECK(live.begin_change(soon(), "second").error().message == "second: the time limit passed");
  live.end_change();
  CHECK(live.begin_change(soon(), "second"));
}

TEST_CASE("live state: the lock among processes is known as long as somebody holds it") {
  LiveState live;
  CHECK(live.change_hold() == nullptr);
  auto hold = std::make_shared<const base::Fd>();
  live.keep_change_hold(hold);
  CHECK(live.change_hold() == hold);
  hold.reset();
  CHECK(live.change_hold() == nullptr);
}
