// Who does what a stream's call leaves to be done, because it must not wait.
#include "host/vm/vm_stream_home.hpp"

#include <doctest/doctest.h>

#include <future>
#include <thread>

#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using host::Limits;
using host::StreamHome;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

TEST_CASE("vm stream home: work is done once, on a thread of the Runtime") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  const auto vm = fake.attach(host);
  const auto home = host::make_stream_home(vm);
  for (const auto kind : {StreamHome::Errand::look, StreamHome::Errand::wake}) {
    std::promise<std::thread::id> done;
    CHECK(home->later(kind, [&](const Limits& limits) {
      CHECK(limits.may_wait());
      CHECK(limits.check("test"));
      done.set_value(std::this_thread::get_id());
    }));
    CHECK(done.get_future().get() != std::this_thread::get_id());
  }
}

TEST_CASE("vm stream home: when the Runtime ends what waits is done with limits that are over") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  const auto vm = fake.attach(host);
  const auto home = host::make_stream_home(vm);
  auto& errands = host.core->looks;
  std::atomic<size_t> held{0};
  for (size_t i = 0; i < host::Errands::kMaxThreads; i++) {
    CHECK(errands.add([&] {
      ++held;
      const CallLimits until_stopped{.cancel = &errands.token(), .timeout = {}};
      CHECK_FALSE(Limits(until_stopped).wait(-1, 0, "test"));
    }));
  }
  while (held < host::Errands::kMaxThreads) std::this_thread::yield();
  int done = 0;
  CHECK(home->later(StreamHome::Errand::look, [&](const Limits& limits) {
    ++done;
    const auto over = limits.check("test");
    CHECK((!over && over.error().code == ErrorCode::cancelled));
  }));
  host.core->stop_work();
  CHECK(done == 1);
  CHECK_FALSE(home->later(StreamHome::Errand::look, [&](const Limits&) { ++done; }));
  CHECK(done == 1);
}

// A guest may have a thousand streams end at once, sleep for long, and its ends and connects go on.
TEST_CASE("vm stream home: looks, wakes and all else have threads of their own") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  const auto vm = fake.attach(host);
  const auto home = host::make_stream_home(vm);
  std::promise<void> go_on;
  const auto held = go_on.get_future().share();
  const auto fill = [&](const auto& add, size_t most) {
    for (size_t i = 0; i < 2 * most; ++i) CHECK(add([held] { held.wait(); }));
  };
  const auto add_look = [&](const std::function<void()>& work) {
    return home->later(StreamHome::Errand::look, [work](const Limits&) { work(); });
  };
  const auto add_wake = [&](const std::function<void()>& work) {
    return home->later(StreamHome::Errand::wake, [work](const Limits&) { work(); });
  };
  const auto add_errand = [&](const std::function<void()>& work) {
    return host.core->errands.add(work);
  };
  const auto is_done_by = [&](const auto& add) {
    const auto done = std::make_shared<std::promise<void>>();
    CHECK(add([done] { done->set_value(); }));
    return done->get_future().wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  };
  SUBCASE("looks beside the others") {
    fill(add_errand, host::Errands::kMaxThreads);
    fill(add_wake, host::Core::kMaxWakes);
    CHECK(is_done_by(add_look));
  }
  SUBCASE("wakes beside the others") {
    fill(add_errand, host::Errands::kMaxThreads);
    fill(add_look, host::Errands::kMaxThreads);
    CHECK(is_done_by(add_wake));
  }
  SUBCASE("all else beside them") {
    fill(add_look, host::Errands::kMaxThreads);
    fill(add_wake, host::Core::kMaxWakes);
    CHECK(is_done_by(add_errand));
  }
  go_on.set_value();
}

TEST_CASE("vm stream home: without its Vm nothing is done") {
  TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  auto vm = fake.attach(host);
  const auto home = host::make_stream_home(vm);
  vm.reset();
  CHECK_FALSE(home->later(StreamHome::Errand::wake, [](const Limits&) { CHECK(false); }));
  const auto used = home->with_link(Limits({}), "test", [](const auto&) -> Result<void> {
    CHECK(false);
    return {};
  });
  CHECK(used.error().code == ErrorCode::vm_gone);
}
