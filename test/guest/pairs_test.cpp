// Every two things that may happen to a Vm, at once: each with an outcome that vm.hpp promises, and
// a Vm that is of use afterwards, or gone without a trace.
#include <signal.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

using Done = Result<void>;

// A Vm of a Runtime of its own, whose end is the owner's death; calls come through both.
struct Pair {
  Pair() {
    RuntimeOptions options;
    options.data_dir = data_dir();
    auto opened = Runtime::open(options);
    REQUIRE_MESSAGE(opened, why(opened));
    owner.emplace(std::move(*opened));
    RunOptions run;
    run.idle.idle_after = std::chrono::hours(1);
    auto started = owner->run("counter", run);
    REQUIRE_MESSAGE(started, why(started));
    vm.emplace(std::move(*started));
    id = vm->id();
    const auto kept = vm->checkpoint();
    REQUIRE_MESSAGE(kept, why(kept));
    checkpoint = kept->id;
  }
  ~Pair() {
    if (vm) static_cast<void>(vm->terminate());
    static_cast<void>(runtime().remove_checkpoint(checkpoint));
  }

  std::optional<Runtime> owner;
  std::optional<Vm> vm;
  std::string id;
  std::string checkpoint;
};

template <class T>
Done done(const Result<T>& result) {
  if (!result) return tl::unexpected(result.error());
  return {};
}

struct Happening {
  const char* name;
  bool ends_it;  // for good
  std::function<Done(Vm vm, Pair& pair)> act;
  // What it may come to beside success, whatever is at the same time.
  std::vector<ErrorCode> may_fail_with;
};

const std::array<Happening, 9>& happenings() {
  static const std::array<Happening, 9> all = {{
      {"suspend",
       false,
       [](Vm vm, Pair&) { return done(vm.suspend()); },
       {ErrorCode::busy, ErrorCode::vm_gone, ErrorCode::cancelled, ErrorCode::guest_failed}},
      {"resume", false, [](Vm vm, Pair&) { return vm.resume(); }, {ErrorCode::vm_gone}},
      {"fork",
       false,
       [](Vm vm, Pair&) {
         auto forks = vm.fork();
         if (forks) static_cast<void>(forks->front().terminate());
         return done(forks);
       },
       {ErrorCode::vm_gone, ErrorCode::guest_failed}},
      {"checkpoint",
       false,
       [](Vm vm, Pair&) {
         auto kept = vm.checkpoint();
         if (kept) static_cast<void>(runtime().remove_checkpoint(kept->id));
         return done(kept);
       },
       {ErrorCode::vm_gone, ErrorCode::guest_failed}},
      {"rollback",
       false,
       [](Vm vm, Pair& pair) { return vm.rollback(pair.checkpoint); },
       {ErrorCode::vm_gone}},
      {"terminate", true, [](Vm vm, Pair&) { return vm.terminate(); }, {}},
      {"exec",
       false,
       [](Vm vm, Pair&) { return done(vm.exec_collect({.argv = {"true"}})); },
       {ErrorCode::vm_gone, ErrorCode::vm_suspended, ErrorCode::guest_failed}},
      {"idle decision",
       false,
       [](Vm vm, Pair&) {
         return done(vm.exec_collect({.argv = {"touch", "/run/microvm/suspend"}}));
       },
       {ErrorCode::vm_gone, ErrorCode::vm_suspended, ErrorCode::guest_failed}},
      {"worker death",
       true,
       [](Vm vm, Pair&) -> Done {
         const auto info = vm.info();
         if (info && info->worker_pid > 1) ::kill(static_cast<pid_t>(info->worker_pid), SIGKILL);
         return {};
       },
       {}},
  }};
  return all;
}

bool is_allowed(const Happening& what, const Done& came) {
  return came || std::ranges::count(what.may_fail_with, came.error().code) > 0;
}

}  // namespace

TEST_CASE("pairs: any two things at once come to what is promised") {
  const auto& all = happenings();
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = i; j < all.size(); ++j) {
      INFO(std::string(all[i].name), " and ", std::string(all[j].name));
      Pair pair;
      Done first;
      Done second;
      {
        std::jthread one([&] { first = all[i].act(*pair.vm, pair); });
        second = all[j].act(*pair.vm, pair);
      }
      CHECK_MESSAGE(is_allowed(all[i], first), std::string(all[i].name), ": ", why(first));
      CHECK_MESSAGE(is_allowed(all[j], second), std::string(all[j].name), ": ", why(second));
      // Of use, or gone: never between.
      const auto use = pair.vm->exec_collect({.argv = {"true"}});
      const bool is_gone = !use && use.error().code == ErrorCode::vm_gone;
      CHECK_MESSAGE((use || is_gone), why(use));
      if (!all[i].ends_it && !all[j].ends_it) CHECK_MESSAGE(use, why(use));
    }
  }
}

TEST_CASE("pairs: an owner that dies ends its vm, whatever is under way") {
  for (const Happening& what : happenings()) {
    INFO(std::string(what.name));
    Pair pair;
    {
      std::jthread other([&, vm = *pair.vm] { static_cast<void>(what.act(vm, pair)); });
      pair.owner.reset();
      pair.vm.reset();
    }
    CHECK(eventually([&] { return !runtime().attach(pair.id); }));
  }
}
