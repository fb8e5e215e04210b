// What calls of a Vm do, with a worker and an agent that the test plays.
#include <doctest/doctest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <thread>

#include "host/saved/change_lock.hpp"
#include "host/saved/vm_files.hpp"
#include "unit/host/vm/fake_vm.hpp"

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

using Reason = wire::ExitEvent::Reason;

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(20)};

// Calls that look at, or change, a file system by a path or read or lock what they found.
constexpr std::array kFileCalls = {
    SYS_open,       SYS_openat,   SYS_openat2, SYS_creat,     SYS_stat,   SYS_lstat,
    SYS_newfstatat, SYS_statx,    SYS_access,  SYS_faccessat, SYS_flock,  SYS_pread64,
    SYS_pwrite64,   SYS_readlink, SYS_unlink,  SYS_unlinkat,  SYS_rename, SYS_getdents64,
};

// File calls of the present thread, from here on; each fails. For good: a thread of its own.
thread_local int file_calls = 0;

void on_file_call(int, siginfo_t*, void* context) {
  ++file_calls;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

void count_file_calls() {
  struct sigaction action{};
  action.sa_sigaction = on_file_call;
  action.sa_flags = SA_SIGINFO;
  REQUIRE(::sigaction(SIGSYS, &action, nullptr) == 0);
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const long number : kFileCalls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  REQUIRE(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0);
}

struct Attached {
  Attached() : Attached(FakeVm::Options()) {}
  explicit Attached(const FakeVm::Options& options) : fake(host, options) {}

  Result<void> connect() {
    const auto socket = vm.connect(80, kInTime);
    if (!socket) return base::fail(socket.error());
    ::close(*socket);
    return {};
  }

  TempDir dir;
  FakeHost host{dir.path()};
  FakeVm fake;
  std::shared_ptr<Vm::Impl> impl = fake.attach(host);
  Vm vm{impl};
};

}  // namespace

TEST_CASE("vm calls: a call that finds the vm running asks nothing of the disk") {
  Attached t;
  // The first one looks whether somebody is changing the Vm.
  REQUIRE(t.connect());
  REQUIRE(t.vm.exec_collect({.argv = {"true"}}, {}, kInTime));
  std::thread caller([&] {
    REQUIRE(t.connect());  // what a thread's first call sets up
    REQUIRE(t.vm.exec_collect({.argv = {"true"}}, {}, kInTime));
    count_file_calls();
    CHECK(t.connect());
    CHECK(t.vm.exec_collect({.argv = {"true"}}, {}, kInTime));
    CHECK(t.vm.make_directory("/a", {}, kInTime));
    CHECK(file_calls == 0);
    // It would count them.
    CHECK_FALSE(host::read_exit(t.fake.dir()));
    CHECK(file_calls == 1);
  });
  caller.join();
}

TEST_CASE("vm calls: a vm that has ended is found so by the next call, whoever looked before") {
  struct End {
    const char* name;
    std::function<void(FakeVm&)> act;
    const char* says;
    VmEnd end;
  };
  const End ends[] = {
      {"powered off", [](FakeVm& vm) { vm.end({Reason::power_off, {}}); }, "the guest powered off",
       VmEnd::powered_off},
      {"panicked", [](FakeVm& vm) { vm.end({Reason::panic, "Kernel panic: x"}); },
       "the guest's kernel panicked: Kernel panic: x", VmEnd::panicked},
      {"killed", [](FakeVm& vm) { vm.kill(); }, "its worker was killed", VmEnd::killed},
      {"powered off, its log being followed",
       [](FakeVm& vm) { vm.end_slowly({Reason::power_off, {}}); }, "the guest powered off",
       VmEnd::powered_off},
  };
  for (const End& end : ends) {
    INFO(end.name);
    Attached t;
    REQUIRE(t.connect());
    end.act(t.fake);
    if (end.end == VmEnd::powered_off) {  // the worker's word is on its way to the reactor
      while (t.vm.info()->state != VmState::terminated) std::this_thread::yield();
    }
    const auto gone = t.connect();
    REQUIRE_FALSE(gone);
    CHECK(gone.error().code == ErrorCode::vm_gone);
    CHECK(gone.error().message.find(end.says) != std::string::npos);
    CHECK(t.vm.info()->end == end.end);
    CHECK(t.vm.wait(kInTime)->reason == end.says);
  }
}

TEST_CASE("vm calls: one handle's suspend is seen by a handle that talked with the worker") {
  Attached t;
  REQUIRE(t.connect());
  FakeHost other_host(t.dir.path());
  Vm other(t.fake.attach(other_host));
  const auto slept = other.suspend({}, kInTime);
  REQUIRE_MESSAGE(slept, slept.error().message);
  CHECK(t.vm.info()->state == VmState::suspended);
  CHECK(other.info()->state == VmState::suspended);
  CHECK(t.vm.suspend({}, kInTime));  // it sleeps already
  CHECK(t.fake.captures == 1);
}

TEST_CASE("vm calls: a resume before the state is durable is served from memory, for all callers") {
  Attached t;
  t.fake.captured_bytes = 48ull << 20;  // long enough to pack
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  CHECK(t.vm.info()->state == VmState::suspending);
  CHECK(t.vm.suspend({}, kInTime).error().code == ErrorCode::busy);
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 16; ++i) callers.emplace_back([&] { CHECK(t.connect()); });
  }
  CHECK(t.fake.resumes == 1);
  CHECK(t.vm.info()->state == VmState::running);
  CHECK(t.host.told.of(VmEvent::Kind::resumed).size() == 1);
  CHECK(t.host.told.of(VmEvent::Kind::suspended).empty());
}

TEST_CASE("vm calls: a vm that is changed by another process is waited for, within the limits") {
  Attached t;
  auto hold = host::hold_change(t.fake.dir(), host::Limits({}), "test");
  REQUIRE(hold);
  const auto late = t.vm.connect(80, {.cancel = nullptr, .timeout = std::chrono::milliseconds(30)});
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  std::thread caller([&] { CHECK(t.connect()); });
  hold->reset();
  caller.join();
}

TEST_CASE("vm calls: a vm that is not to be woken by calls is busy while it is put to sleep") {
  Attached t({.dies_with_owner = false, .auto_resume = false, .hooks = {}});
  t.fake.captured_bytes = 48ull << 20;
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  const auto refused = t.connect();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::busy);
  CHECK(refused.error().message.find("resume it first") != std::string::npos);
}

TEST_CASE("vm calls: an end stops a suspend; what was taken is gone, and it is told once") {
  Attached t;
  t.fake.captured_bytes = 48ull << 20;
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  CHECK(t.vm.terminate());
  CHECK(t.vm.info()->state == VmState::terminated);
  CHECK(t.vm.terminate());
  CHECK(t.host.told.of(VmEvent::Kind::terminated).size() == 1);
  CHECK(t.connect().error().code == ErrorCode::vm_gone);
  CHECK_FALSE(std::filesystem::exists(t.fake.dir() / "saved.json"));
}

TEST_CASE(
    "vm calls: a capture that another request to the worker has ended leaves a vm that runs") {
  Attached t;
  t.fake.writing = FakeVm::Writing::refused;
  const auto slept = t.vm.suspend({.wait_durable = true}, kInTime);
  REQUIRE_FALSE(slept);
  CHECK(slept.error().code == ErrorCode::busy);  // nobody has cancelled anything
  CHECK(slept.error().message.ends_with("; the microvm runs on"));
  CHECK(t.host.told.wait_for(VmEvent::Kind::runs_on, 1));
  CHECK(t.vm.info()->state == VmState::running);
  CHECK(t.fake.resumes == 1);
  CHECK(t.connect());
}

TEST_CASE("vm calls: of a worker that is killed behind its answer nobody says that it runs on") {
  Attached t;
  t.fake.writing = FakeVm::Writing::killed;
  const auto slept = t.vm.suspend({.wait_durable = true}, kInTime);
  REQUIRE_FALSE(slept);
  CHECK(slept.error().code == ErrorCode::vm_gone);
  CHECK(slept.error().message.find("runs on") == std::string::npos);
  CHECK(t.host.told.of(VmEvent::Kind::runs_on).empty());
  CHECK(t.vm.info()->state == VmState::terminated);
  CHECK_FALSE(std::filesystem::exists(t.fake.dir() / "saved.json"));
}

TEST_CASE("vm calls: who has read logs or counters during a run hook still waits for its end") {
  Attached t;
  t.fake.print("starting\n");
  auto hook = host::hold_change(t.fake.dir(), host::Limits({}), "run");
  REQUIRE(hook);
  CHECK(*t.vm.logs(LogSource::app) == "starting\n");
  static_cast<void>(t.vm.counters());
  CHECK(t.vm.info()->state == VmState::running);
  const CallLimits soon{.cancel = nullptr, .timeout = std::chrono::milliseconds(50)};
  for (int i = 0; i < 3; ++i) {
    CHECK(t.vm.exec({.argv = {"true"}}, soon).error().code == ErrorCode::deadline_exceeded);
    CHECK(t.vm.connect(80, soon).error().code == ErrorCode::deadline_exceeded);
    CHECK(t.vm.read_file("/a", {}, soon).error().code == ErrorCode::deadline_exceeded);
    CHECK(t.vm.ptys(soon).error().code == ErrorCode::deadline_exceeded);
    CHECK(*t.vm.logs(LogSource::app) == "starting\n");
  }
  CHECK(t.fake.streams == 0);
  hook->reset();
  CHECK(t.connect());
}

// Before anything has happened; also where there is nothing that they would wait for.
TEST_CASE("vm calls: with a token that has fired none begins") {
  Attached t;
  auto program = t.vm.exec({.argv = {"cat"}, .stdin_open = true}, kInTime);
  REQUIRE(program);
  auto log = t.vm.follow_logs(LogSource::app, kInTime);
  REQUIRE(log);
  t.fake.print("text\n");
  const int streams = t.fake.streams;
  CancelToken fired;
  fired.cancel();
  const CallLimits limits{.cancel = &fired, .timeout = {}};
  const auto is_cancelled = [](const auto& result) {
    return !result && result.error().code == ErrorCode::cancelled;
  };
  CHECK(is_cancelled(t.vm.counters(limits)));
  CHECK(is_cancelled(t.vm.exec({.argv = {"true"}}, limits)));
  CHECK(is_cancelled(t.vm.exec_collect({.argv = {"true"}}, {}, limits)));
  CHECK(is_cancelled(t.vm.connect(80, limits)));
  CHECK(is_cancelled(t.vm.logs(LogSource::app, limits)));
  CHECK(is_cancelled(t.vm.suspend({}, limits)));
  CHECK(is_cancelled(t.vm.resume({}, limits)));
  CHECK(is_cancelled(t.vm.wait(limits)));
  CHECK(is_cancelled(t.vm.write_file("/a", {}, {}, limits)));
  CHECK(is_cancelled(t.vm.terminate(limits)));
  CHECK(is_cancelled(program->write_stdin({}, limits)));
  CHECK(is_cancelled(program->close_stdin(limits)));
  CHECK(is_cancelled(program->signal(SIGTERM, limits)));
  CHECK(is_cancelled(program->detach(limits)));
  CHECK(is_cancelled(program->wait(limits)));
  CHECK(is_cancelled(log->read(limits)));
  CHECK(t.fake.streams == streams);
  CHECK(t.fake.captures == 0);
  CHECK(t.vm.info()->state == VmState::running);
  CHECK(program->wait(kInTime));
  CHECK(log->read(kInTime)->value_or("") == "text\n");
}

TEST_CASE("vm calls: terminate and remove obey their limits until the end has begun") {
  Attached t;
  auto hold = host::hold_change(t.fake.dir(), host::Limits({}), "test");
  REQUIRE(hold);
  const CallLimits soon{.cancel = nullptr, .timeout = std::chrono::milliseconds(30)};
  CHECK(t.vm.terminate(soon).error().code == ErrorCode::deadline_exceeded);
  CancelToken token;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    token.cancel();
  });
  CHECK(t.vm.terminate({.cancel = &token}).error().code == ErrorCode::cancelled);
  canceller.join();
  CHECK(t.impl->remove(host::Limits(soon)).error().code == ErrorCode::deadline_exceeded);
  CHECK(t.vm.info()->state == VmState::running);
  hold->reset();
  CHECK(t.connect());
  CHECK(t.vm.terminate(kInTime));
  CHECK(t.vm.info()->state == VmState::terminated);
}

TEST_CASE("vm calls: a terminate hook that does not answer is given up with the limits") {
  Attached t({.hooks = {.port = 80, .terminate = std::chrono::seconds(60)}});
  REQUIRE(t.connect());
  t.fake.agent_is_silent = true;
  const auto begun = std::chrono::steady_clock::now();
  CHECK(t.vm.terminate({.cancel = nullptr, .timeout = std::chrono::milliseconds(200)}));
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(20));
  CHECK(t.vm.info()->state == VmState::terminated);
  t.fake.agent_is_silent = false;
}

TEST_CASE("vm calls: a resume waits for layers that are merged within its limits") {
  Attached t;
  t.fake.captured_bytes = 48ull << 20;
  // So many that they are merged first: nothing is stopped.
  host::VmRun run{.worker_pid = 0, .layers = {}, .pages = {}};
  for (int i = 1; i <= 24; ++i) {
    run.layers.push_back("disk-" + std::to_string(i) + ".layer");
    std::ofstream(t.fake.dir() / run.layers.back()) << "layer";
  }
  REQUIRE(host::write_run(t.fake.dir(), run));
  REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
  const auto late = t.vm.resume({}, {.cancel = nullptr, .timeout = std::chrono::milliseconds(20)});
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CHECK(t.vm.info()->state == VmState::suspending);
  CHECK(t.fake.resumes == 0);
  for (int i = 0; i < 4000 && t.vm.info()->state == VmState::suspending; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(t.vm.info()->state == VmState::suspended);
}

TEST_CASE("vm calls: a resume that gives up while a suspension stops leaves a vm that runs") {
  for (const int limit_ms : {1, 2, 5}) {
    Attached t;
    t.fake.captured_bytes = 48ull << 20;
    REQUIRE(t.vm.suspend({.wait_durable = false}, kInTime));
    static_cast<void>(
        t.vm.resume({}, {.cancel = nullptr, .timeout = std::chrono::milliseconds(limit_ms)}));
    for (int i = 0; i < 4000 && t.vm.info()->state == VmState::suspending; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    CHECK(t.vm.info()->state == VmState::running);
    CHECK(t.fake.resumes >= 1);
    CHECK(t.connect());
  }
}
