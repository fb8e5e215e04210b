// Starts that nobody waits in, of real guests, cut short at any moment.
#include <poll.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

using std::chrono::milliseconds;

const CallLimits kLong{.cancel = nullptr, .timeout = std::chrono::seconds(120)};

VmStart begin(Result<VmStart> start) {
  REQUIRE_MESSAGE(start, why(start));
  return std::move(*start);
}

RunningVm taken(VmStart& start) {
  auto vm = start.take(kLong);
  REQUIRE_MESSAGE(vm, why(vm));
  return RunningVm(std::move(*vm));
}

bool is_over(const VmStart& start, int timeout_ms) {
  pollfd fd{start.fd(), POLLIN, 0};
  return ::poll(&fd, 1, timeout_ms) == 1;
}

}  // namespace

TEST_CASE("start: several at a time, each taken once its guest is ready") {
  std::vector<VmStart> starts;
  for (int i = 0; i < 3; ++i) starts.push_back(begin(runtime().start("counter")));
  CHECK(starts.front().try_take().error().code == ErrorCode::would_block);
  std::vector<RunningVm> vms;
  for (VmStart& start : starts) {
    CHECK(is_over(start, 120'000));
    vms.push_back(taken(start));
  }
  for (RunningVm& vm : vms) CHECK(shell(vm, "echo here") == "here\n");
  const auto checkpoint = vms.front().checkpoint({.name = "started"});
  REQUIRE_MESSAGE(checkpoint, why(checkpoint));
  VmStart again = begin(runtime().start_checkpoint("started"));
  RunningVm from_checkpoint = taken(again);
  CHECK(from_checkpoint.id() != vms.front().id());
  CHECK(shell(from_checkpoint, "echo here too") == "here too\n");
  REQUIRE(runtime().remove_checkpoint("started"));
}

TEST_CASE("start: what is wrong with it is said when it is taken") {
  VmStart unknown = begin(runtime().start("no-such-image"));
  CHECK(unknown.take(kLong).error().code == ErrorCode::not_found);
  VmStart checkpoint = begin(runtime().start_checkpoint("no-such-checkpoint"));
  CHECK(checkpoint.take(kLong).error().code == ErrorCode::not_found);
}

TEST_CASE("start: cancelled at any moment it leaves nothing, and keeps nobody waiting") {
  const Holdings before = settled_holdings();
  for (const bool dies_with_owner : {true, false}) {
    for (const int after_ms : {0, 2, 10, 30, 100, 200, 400, 800, 1600}) {
      const RunOptions options{.name = "cut", .dies_with_owner = dies_with_owner, .idle = {}};
      std::optional<VmStart> start = begin(runtime().start("counter", options));
      static_cast<void>(is_over(*start, after_ms));
      const auto cut = std::chrono::steady_clock::now();
      start->cancel();
      CHECK(is_over(*start, 0));
      CHECK(start->take(kLong).error().code == ErrorCode::cancelled);
      start.reset();
      CHECK(std::chrono::steady_clock::now() - cut < std::chrono::seconds(1));
      // Its name is free again.
      CHECK(eventually([] { return !runtime().attach("cut"); }));
    }
  }
  check_nothing_left(before);
}

TEST_CASE("start: a runtime that ends cuts short what it is starting") {
  const Holdings before = settled_holdings();
  std::vector<VmStart> starts;
  {
    auto other = Runtime::open({.data_dir = data_dir(), .log = {}, .on_event = {}});
    REQUIRE_MESSAGE(other, why(other));
    for (int i = 0; i < 12; ++i) {
      starts.push_back(begin(other->start("counter", {.dies_with_owner = false, .idle = {}})));
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
  for (VmStart& start : starts) {
    CHECK(is_over(start, 0));
    static_cast<void>(start.try_take().and_then([](Vm vm) { return vm.terminate(); }));
  }
  starts.clear();
  const auto vms = runtime().vms();
  REQUIRE_MESSAGE(vms, why(vms));
  for (const VmInfo& vm : *vms) {
    if (vm.state == VmState::terminated) REQUIRE(runtime().remove_vm(vm.id));
  }
  check_nothing_left(before);
}

TEST_CASE("start: MICROVM_TRACE shows each step until the first exec has been answered") {
  const TempDir dir;
  const std::filesystem::path file = dir.path() / "start.trace";
  ::setenv("MICROVM_TRACE", file.c_str(), 1);
  RuntimeOptions options;
  options.data_dir = data_dir();
  auto traced = Runtime::open(options);
  ::unsetenv("MICROVM_TRACE");
  REQUIRE_MESSAGE(traced, why(traced));
  auto vm = traced->run("counter");
  REQUIRE_MESSAGE(vm, why(vm));
  RunningVm running(std::move(*vm));
  CHECK(shell(running, "echo here") == "here\n");
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const std::string lines = text.str();
  MESSAGE(lines);
  size_t at = 0;
  for (const char* step :
       {"the image's files opened", "worker: started and shaped", "the microvm's files made",
        "worker: the request received", "worker: devices attached",
        "worker: state read and checked", "worker: memory mapped",
        "worker: state given to vcpus and devices", "worker: working set brought in",
        "worker: answered", "worker: KVM_RUN", "worker: the agent rang", "handshake: hello",
        "ready: identity applied in ", "the call returns", "exec: stream to the agent",
        "exec: sent", "exec: started", "exec: ended"}) {
    INFO(step);
    at = lines.find(step, at);
    REQUIRE(at != std::string::npos);
  }
  CHECK(lines.starts_with(running.id()));
}
