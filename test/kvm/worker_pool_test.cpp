// The pool of shaped workers, with real ones.
#include "host/worker/worker_pool.hpp"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "unit/without_streams.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

constexpr Shape kShape{.memory_bytes = 2 << 20, .vcpus = 1};

// Of this process, ended ones that nobody has reaped too.
size_t children() {
  size_t count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    for (std::string pid; file >> pid;) ++count;
  }
  return count;
}

bool wait_for_children(size_t wanted) {
  for (int round = 0; round < 1000; ++round) {
    if (children() == wanted) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

// One that is ending and one that is just starting are as many, for a moment.
bool comes_to_rest_at(size_t count) {
  constexpr int kLooks = 30;
  int in_a_row = 0;
  for (int i = 0; i < 1000 && in_a_row < kLooks; ++i) {
    in_a_row = children() == count ? in_a_row + 1 : 0;
    std::this_thread::sleep_for(10ms);
  }
  return in_a_row == kLooks;
}

// Of all threads of the process.
std::set<int> priorities(uint32_t pid) {
  std::set<int> all;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    const auto tid = static_cast<id_t>(std::stoul(task.path().filename()));
    all.insert(::getpriority(PRIO_PROCESS, tid));
  }
  return all;
}

std::set<int> own_priority() {
  return {::getpriority(PRIO_PROCESS, 0)};
}

// As if the process had given up the right to it, with all of its threads.
bool give_up_raising() {
  const auto own = static_cast<uint32_t>(::getpriority(PRIO_PROCESS, 0));
  std::array filter = {sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
                       sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 3, SYS_setpriority},
                       sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, args[2])},
                       sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, own},
                       sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EACCES},
                       sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

// In a process of its own: of the workers that the pool starts before and after.
bool usual_priority_after_giving_up() {
  const auto reactor = Reactor::create();
  if (!reactor) return false;
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  for (const bool given_up : {false, true}) {
    if (given_up && !give_up_raising()) return false;
    const size_t before = children();
    pool.fill_in_background(kShape);
    if (!comes_to_rest_at(before + 1)) return false;
    const auto taken = pool.take(kShape, Limits({nullptr, 30s}));
    if (!taken || priorities(taken->pid()) != own_priority()) return false;
  }
  return true;
}

// What a pool says of its troubles.
class Troubles {
 public:
  void add(const Error& error) {
    const std::scoped_lock lock(mutex_);
    errors_.push_back(error);
  }
  std::vector<Error> after(milliseconds time) {
    std::this_thread::sleep_for(time);
    const std::scoped_lock lock(mutex_);
    return errors_;
  }

 private:
  std::mutex mutex_;
  std::vector<Error> errors_;
};

}  // namespace

TEST_CASE("pool: it is filled while the reactor is at work, and on nobody's time") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 2);
  std::promise<void> held;
  (*reactor)->post([until = held.get_future().share()] { until.wait(); });
  const size_t before = children();
  pool.fill_in_background(kShape);
  CHECK(comes_to_rest_at(before + 2));
  held.set_value();

  const auto taken = pool.take(kShape, Limits(CallLimits{}));
  REQUIRE(taken);
  CHECK(children() == before + 2);  // it was there
  pool.fill_in_background(kShape);
  CHECK(wait_for_children(before + 3));
}

TEST_CASE(
    "pool: after its stop nothing is started in the background, and what waits goes with it") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  const size_t before = children();
  {
    WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
    pool.keep(kShape, 1);
    REQUIRE(pool.fill(kShape));
    CHECK(children() == before + 1);
    pool.stop();
    pool.keep(kShape, 2);
    pool.fill_in_background(kShape);
    std::this_thread::sleep_for(50ms);
    CHECK(children() == before + 1);
  }
  CHECK(wait_for_children(before));
}

TEST_CASE("pool: workers start in a process without standard streams") {
  CHECK(test::holds_without_streams([] {
    const auto reactor = Reactor::create();
    if (!reactor) return false;
    WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
    const auto taken = pool.take(kShape, Limits({nullptr, 30s}));
    return taken && test::low_fds_are_free();
  }));
}

TEST_CASE("pool: who takes a worker and fails leaves it as full as before") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 2);
  REQUIRE(pool.fill(kShape));
  const size_t full = children();
  {
    const PoolRefill refill(pool, kShape);
    const auto taken = pool.take(kShape, Limits(CallLimits{}));
    REQUIRE(taken);
  }  // its launch has failed
  CHECK(comes_to_rest_at(full));
  {
    // Its taker gives up, or gets one that nobody starts.
    CancelToken cancelled;
    cancelled.cancel();
    const PoolRefill refill(pool, kShape);
    static_cast<void>(pool.take(kShape, Limits({.cancel = &cancelled})));
  }
  CHECK(comes_to_rest_at(full));
  const auto first = pool.take(kShape, Limits(CallLimits{}));
  const auto second = pool.take(kShape, Limits(CallLimits{}));
  REQUIRE((first && second));
  CHECK(children() == full);  // both were there
}

TEST_CASE("pool: nothing is filled in beside a start, nor until its guest has answered") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  REQUIRE(pool.fill(kShape));
  const size_t full = children();
  std::optional<PoolRefill> answered(std::in_place, pool, kShape);
  const auto taken = pool.take(kShape, Limits(CallLimits{}));
  REQUIRE(taken);
  CHECK(taken->pooled());
  const PoolRefill other(pool, kShape);  // a start beside it, which ends later
  answered->guest_is_ready(800ms);
  std::this_thread::sleep_for(200ms);
  CHECK(children() == full);
  other.guest_is_ready(0ms);
  std::this_thread::sleep_for(200ms);
  CHECK(children() == full);
  answered.reset();
  CHECK(comes_to_rest_at(full + 1));
}

TEST_CASE("pool: a guest that does nothing holds the filling up for as long as its start took") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  const size_t before = children();
  const PoolRefill refill(pool, kShape);
  refill.guest_is_ready(300ms);
  std::this_thread::sleep_for(100ms);
  CHECK(children() == before);
  CHECK(comes_to_rest_at(before + 1));
}

TEST_CASE("pool: starts without a pause do not keep it empty") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  const size_t before = children();
  std::optional<PoolRefill> start(std::in_place, pool, kShape);
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (children() == before && std::chrono::steady_clock::now() < end) {
    PoolRefill next(pool, kShape);
    start.emplace(std::move(next));
    std::this_thread::sleep_for(20ms);
  }
  CHECK(children() == before + 1);
}

TEST_CASE("pool: no worker of it is left with less priority than others") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  const size_t before = children();
  SUBCASE("that has waited") {
    pool.fill_in_background(kShape);
    REQUIRE(comes_to_rest_at(before + 1));
    const auto taken = pool.take(kShape, Limits(CallLimits{}));
    REQUIRE(taken);
    CHECK(taken->pooled());
    CHECK(priorities(taken->pid()) == own_priority());
  }
  SUBCASE("that was just starting") {
    for (int round = 0; round < 10; ++round) {
      pool.fill_in_background(kShape);
      std::this_thread::sleep_for(round * 1ms);
      const auto taken = pool.take(kShape, Limits(CallLimits{}));
      REQUIRE(taken);
      CHECK(priorities(taken->pid()) == own_priority());
    }
  }
  CHECK(own_priority() == std::set<int>{::getpriority(PRIO_PROCESS, 0)});
}

TEST_CASE("pool: who fills it finds it ready afterwards, also what the filler has begun") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 2);
  for (int round = 0; round < 5; ++round) {
    pool.fill_in_background(kShape);
    std::this_thread::sleep_for(round * 1ms);
    REQUIRE(pool.fill(kShape));
    for (int i = 0; i < 2; ++i) {
      const auto taken = pool.take(kShape, Limits::at_once());  // nothing is waited for
      REQUIRE(taken);
      CHECK(taken->pooled());
      CHECK(priorities(taken->pid()) == own_priority());
    }
  }
}

TEST_CASE("pool: one that cannot be filled says so, once, and costs no start") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  Troubles troubles;
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.on_trouble([&](const Error& error) { troubles.add(error); });
  constexpr Shape kImpossible{.memory_bytes = 1, .vcpus = 1};
  pool.keep(kImpossible, 1);
  pool.fill_in_background(kImpossible);
  for (int i = 0; i < 1000 && troubles.after(10ms).empty(); ++i) {
  }
  pool.fill_in_background(kImpossible);
  const auto told = troubles.after(200ms);
  REQUIRE(told.size() == 1);
  CHECK(told[0].code == ErrorCode::invalid_argument);
  CHECK(told[0].message.starts_with("fill the pool: "));
  pool.keep(kShape, 1);
  CHECK(pool.take(kShape, Limits(CallLimits{})));
}

TEST_CASE("pool: a worker that has refused its shape is not kept") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  constexpr Shape kImpossible{.memory_bytes = 1, .vcpus = 1};
  pool.keep(kImpossible, 1);
  const size_t before = children();
  for (int i = 0; i < 2; ++i) {
    const auto filled = pool.fill(kImpossible, Limits({nullptr, 10s}));
    CHECK(filled.error().code == ErrorCode::invalid_argument);
    CHECK(wait_for_children(before));
  }
  CHECK(pool.take(kImpossible, Limits({nullptr, 10s})).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("pool: one that may not raise priorities any more starts workers with the usual one") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(usual_priority_after_giving_up() ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("pool: filling it obeys its limits; what was started stays") {
  const auto reactor = Reactor::create();
  REQUIRE(reactor);
  WorkerPool pool(std::make_shared<WorkerSpawner>(), **reactor);
  pool.keep(kShape, 1);
  CancelToken cancelled;
  cancelled.cancel();
  const size_t before = children();
  CHECK(pool.fill(kShape, Limits({.cancel = &cancelled})).error().code == ErrorCode::cancelled);
  CHECK(children() == before);
  CHECK(pool.fill(kShape));
  CHECK(children() == before + 1);
}
