// Starts that nobody waits in, with work that the test gives.
#include "host/vm/vm_starts.hpp"

#include <doctest/doctest.h>
#include <poll.h>

#include <future>
#include <thread>

#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using host::VmStarts;
using std::chrono::milliseconds;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Started = Result<std::shared_ptr<Vm::Impl>>;

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

// As a guest that comes up when it is let.
class Gate {
 public:
  void open() { opened_.set_value(); }
  void pass() const { is_open_.wait(); }

 private:
  std::promise<void> opened_;
  std::shared_future<void> is_open_ = opened_.get_future().share();
};

// One that ends by its limits only.
Started wait_for_cancel(const CallLimits& limits) {
  return base::fail(host::Limits(limits).wait(-1, POLLIN, "start").error());
}

struct Starting {
  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake{host};

  // What is left of it belongs to the Vms.
  void end_runtime() {
    host.core->stop_work();
    host.core->owned.clear();
    host.core.reset();
  }
  VmStart start(VmStarts::Work work) {
    auto started = host.core->starts.add(std::move(work));
    REQUIRE_MESSAGE(started, started.error().message);
    return VmStart(std::move(*started));
  }
  VmStart start_fake() {
    return start([this](const CallLimits&) -> Started { return fake.attach(host); });
  }
  [[nodiscard]] bool is_there() const { return std::filesystem::exists(fake.dir()); }
  // Waits for the end of the Vm.
  [[nodiscard]] bool goes() const {
    for (int i = 0; i < 4000 && is_there(); ++i) std::this_thread::sleep_for(milliseconds(5));
    return !is_there();
  }
};

bool is_over(const VmStart& start, int timeout_ms) {
  pollfd fd{start.fd(), POLLIN, 0};
  return ::poll(&fd, 1, timeout_ms) == 1;
}

ErrorCode code_of(Result<Vm> taken) {
  REQUIRE_FALSE(taken);
  return taken.error().code;
}

}  // namespace

TEST_CASE("vm starts: the vm is taken once") {
  Starting t;
  Gate gate;
  VmStart start = t.start([&](const CallLimits&) -> Started {
    gate.pass();
    return t.fake.attach(t.host);
  });
  CHECK(code_of(start.try_take()) == ErrorCode::would_block);
  CHECK_FALSE(is_over(start, 0));
  CHECK(code_of(start.take({.cancel = nullptr, .timeout = milliseconds(20)})) ==
        ErrorCode::deadline_exceeded);
  gate.open();
  CHECK(is_over(start, 20'000));
  auto vm = start.take(kInTime);
  REQUIRE_MESSAGE(vm, vm.error().message);
  CHECK(vm->id() == t.fake.id());
  CHECK(code_of(start.take(kInTime)) == ErrorCode::invalid_argument);
  CHECK(code_of(start.try_take()) == ErrorCode::invalid_argument);
  CHECK(is_over(start, 0));
  start.cancel();
  {
    const VmStart dropped = std::move(start);
  }
  CHECK(vm->info()->state == VmState::running);
}

TEST_CASE("vm starts: a failure is told as often as it is asked for") {
  Starting t;
  VmStart start = t.start(
      [](const CallLimits&) -> Started { return base::fail(ErrorCode::not_found, "no image"); });
  for (int i = 0; i < 2; ++i) {
    const auto failed = start.take(kInTime);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == ErrorCode::not_found);
    CHECK(failed.error().message == "no image");
    start.cancel();
  }
}

TEST_CASE("vm starts: one that is cancelled before its turn is never begun") {
  Starting t;
  Gate gate;
  std::vector<VmStart> busy;
  for (size_t i = 0; i < host::Errands::kMaxThreads; ++i) {
    busy.push_back(t.start([&](const CallLimits&) -> Started {
      gate.pass();
      return base::fail(ErrorCode::io, "over");
    }));
  }
  std::atomic<bool> begun{false};
  VmStart start = t.start([&](const CallLimits&) -> Started {
    begun = true;
    return base::fail(ErrorCode::io, "begun");
  });
  start.cancel();
  CHECK(is_over(start, 0));
  CHECK(code_of(start.take(kInTime)) == ErrorCode::cancelled);
  gate.open();
  VmStart last = t.start_fake();
  REQUIRE(last.take(kInTime));
  CHECK_FALSE(begun);
}

TEST_CASE("vm starts: cancelled in the middle nothing stays, whether it notices or not") {
  enum class By { call, end, other_handle };
  for (const By by : {By::call, By::end, By::other_handle}) {
    for (const bool notices : {true, false}) {
      CAPTURE(static_cast<int>(by));
      CAPTURE(notices);
      Starting t;
      std::promise<void> begun;
      Gate gate;
      std::optional<VmStart> start = t.start([&](const CallLimits& limits) -> Started {
        begun.set_value();
        const auto cut = wait_for_cancel(limits);
        CHECK(cut.error().code == ErrorCode::cancelled);
        gate.pass();
        if (notices) return cut;
        return t.fake.attach(t.host);
      });
      begun.get_future().wait();
      if (by == By::call) {
        start->cancel();
        CHECK(is_over(*start, 0));
        CHECK(code_of(start->take(kInTime)) == ErrorCode::cancelled);
      } else if (by == By::end) {
        start.reset();
      } else {
        *start =
            t.start([](const CallLimits&) -> Started { return base::fail(ErrorCode::io, "x"); });
      }
      CHECK(t.is_there());
      gate.open();
      t.host.core->stop_work();
      CHECK(t.is_there() == notices);  // then it was another's
    }
  }
}

TEST_CASE("vm starts: a vm that nobody takes ends with its start") {
  Starting t;
  std::optional<VmStart> start = t.start_fake();
  REQUIRE(is_over(*start, 20'000));
  SUBCASE("by a call") {
    start->cancel();
    CHECK(code_of(start->take(kInTime)) == ErrorCode::cancelled);
  }
  SUBCASE("by its end") {
    start.reset();
  }
  CHECK(t.goes());
  CHECK(t.host.told.wait_for(VmEvent::Kind::terminated, 1));
}

TEST_CASE("vm starts: the errand of an end is done also when the runtime ends first") {
  Starting t;
  Gate gate;
  std::vector<VmStart> busy;
  std::optional<VmStart> start = t.start_fake();
  REQUIRE(is_over(*start, 20'000));
  for (size_t i = 0; i < host::Errands::kMaxThreads; ++i) {
    busy.push_back(t.start([&](const CallLimits&) -> Started {
      gate.pass();
      return base::fail(ErrorCode::io, "over");
    }));
  }
  start.reset();
  CHECK(t.is_there());
  std::jthread ending([&] { t.host.core->stop_work(); });
  std::this_thread::sleep_for(milliseconds(20));
  gate.open();
  ending.join();
  CHECK_FALSE(t.is_there());
}

TEST_CASE("vm starts: a vm that was started outlives the runtime until its start is dropped") {
  Starting t;
  std::optional<VmStart> start = t.start_fake();
  REQUIRE(is_over(*start, 20'000));
  t.end_runtime();
  SUBCASE("taken") {
    const auto vm = start->take(kInTime);
    REQUIRE(vm);
    start.reset();
    CHECK(vm->info()->state == VmState::running);
  }
  SUBCASE("not taken") {
    start.reset();
    CHECK_FALSE(t.is_there());
  }
}

TEST_CASE("vm starts: the end of the runtime cancels those under way and those that wait") {
  Starting t;
  std::vector<VmStart> starts;
  std::atomic<size_t> begun{0};
  for (size_t i = 0; i < 3 * host::Errands::kMaxThreads; ++i) {
    starts.push_back(t.start([&](const CallLimits& limits) -> Started {
      ++begun;
      return wait_for_cancel(limits);
    }));
  }
  while (begun < host::Errands::kMaxThreads) std::this_thread::yield();
  std::this_thread::sleep_for(milliseconds(20));
  t.end_runtime();
  CHECK(begun == host::Errands::kMaxThreads);
  for (VmStart& start : starts) {
    const auto taken = start.try_take();
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == ErrorCode::cancelled);
    CHECK(taken.error().message.find("runtime has ended") != std::string::npos);
  }
}

TEST_CASE("vm starts: hundreds are begun by few threads, and cancelled from any") {
  Starting t;
  std::atomic<size_t> at_once{0};
  std::atomic<size_t> most{0};
  std::vector<VmStart> starts;
  for (size_t i = 0; i < 400; ++i) {
    starts.push_back(t.start([&](const CallLimits&) -> Started {
      const size_t now = ++at_once;
      for (size_t seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      --at_once;
      return base::fail(ErrorCode::io, "over");
    }));
  }
  std::vector<std::jthread> cancellers;
  for (size_t thread = 0; thread < 4; ++thread) {
    cancellers.emplace_back([&, thread] {
      for (size_t i = thread; i < starts.size(); i += 4) starts[i].cancel();
    });
  }
  cancellers.clear();
  for (VmStart& start : starts) {
    const ErrorCode code = code_of(start.take(kInTime));
    CHECK((code == ErrorCode::io || code == ErrorCode::cancelled));
  }
  CHECK(most <= host::Errands::kMaxThreads);
}
