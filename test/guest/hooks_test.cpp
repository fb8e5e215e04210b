// Hooks: what the app of an image is told, when, and what becomes of one that does not agree.
#include <thread>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;
using std::chrono::seconds;

namespace {

constexpr uint16_t kHooksPort = 9000;

// Writes each hook down before it answers. It agrees, except as FAIL, the payload of run, or a file
// /fail-NAME say: "500 WHY" or "sleep SECONDS". After a hook of the name "close" nobody listens,
// but the program goes on: its end would be the machine's.
constexpr const char* kApp = R"(
import http.server, json, os, time
asked = 0
def plan(name, body):
    global asked
    asked += name == "ready"
    if name == "ready" and asked < 3:
        return "503 warming up"
    if body.get("runHookPayload", "").startswith(("500 ", "sleep ")):
        return body["runHookPayload"]
    if os.environ.get("FAIL", "").startswith(name):
        return os.environ["FAIL"].removeprefix(name).strip()
    if os.path.exists("/fail-" + name):
        return open("/fail-" + name).read().strip()
    return "200"
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.removeprefix("/microvm/runtime/v1/")
        print("asked", name, flush=True)
        what, _, why = plan(name, body).partition(" ")
        if what == "sleep":
            time.sleep(float(why))
            what, why = "200", ""
        if name == "close":
            server.shutdown()
            server.socket.close()
        line = " ".join([name, body.get("microvmId", "-"), body.get("runHookPayload", "-")])
        with open("/hooks.log", "a") as log:
            log.write(line + "\n")
        print("hook", line, flush=True)
        self.send_response(int(what))
        self.send_header("Content-Length", str(len(why)))
        self.end_headers()
        self.wfile.write(why.encode())
    def log_message(self, *unused):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Hook)
server.serve_forever()
time.sleep(1000000)
)";

std::string json_string(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (c == '\n') {
      json += "\\n";
    } else {
      json += c;
    }
  }
  return json + "\"";
}

// The app is in the command: with a file to copy each build would boot twice.
BuildOptions build_options(const TempDir& context, const std::string& fail = {}) {
  context.write("Dockerfile", "FROM debian:bookworm\n" +
                                  (fail.empty() ? "" : "ENV FAIL=\"" + fail + "\"\n") +
                                  "CMD [\"python3\", \"-c\", " + json_string(kApp) + "]\n");
  BuildOptions build;
  build.context = context.path();
  build.tag = "hooks";
  build.memory_bytes = kGuestMemory;
  build.hooks = {.port = kHooksPort,
                 .ready = seconds(120),
                 .validate = seconds(60),
                 .run = seconds(20),
                 .suspend = seconds(20),
                 .resume = seconds(20),
                 .terminate = seconds(5)};
  return build;
}

void build_hooks_image() {
  static bool built = false;
  if (built) return;
  const TempDir context;
  const auto image = runtime().build(build_options(context));
  REQUIRE_MESSAGE(image, why(image));
  CHECK(image->config.hooks.port == kHooksPort);
  built = true;
}

RunningVm run_hooks(const RunOptions& options = {}) {
  build_hooks_image();
  auto vm = runtime().run("hooks", options);
  REQUIRE_MESSAGE(vm, why(vm));
  return RunningVm(std::move(*vm));
}

constexpr const char* kCloseServer = R"(python3 -c '
from urllib.request import urlopen
urlopen("http://127.0.0.1:9000/microvm/runtime/v1/close", b"{}")')";
constexpr const char* kAsked = "ready - -\nready - -\nready - -\n";

std::string told(const Vm& vm, const std::string& name, const std::string& payload = "-") {
  return name + " " + vm.id() + " " + payload + "\n";
}

std::string hooks_of(Vm& vm) {
  return shell(vm, "cat /hooks.log");
}

// The details of the hooks that failed.
std::vector<std::string> failures_of(const Vm& vm) {
  std::vector<std::string> failures;
  for (const VmEvent& event : events_of(vm.id())) {
    if (event.kind == VmEvent::Kind::hook_failed) failures.push_back(event.detail);
  }
  return failures;
}

void check_build_fails(const std::string& fail, const std::string& expected) {
  const Holdings before = settled_holdings();
  const TempDir context;
  const auto image = runtime().build(build_options(context, fail));
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::build_failed);
  CHECK(image.error().message.find(expected) != std::string::npos);
  check_nothing_left(before);
}

}  // namespace

TEST_CASE("hooks: ready is asked until it is, run comes before the vm") {
  RunOptions options;
  options.run_hook_payload = "{\"tenant\": \"ü\"}";
  RunningVm vm = run_hooks(options);
  CHECK(hooks_of(vm) == kAsked + told(vm, "run", options.run_hook_payload));
  RunningVm plain = run_hooks();
  CHECK(hooks_of(plain) == kAsked + told(plain, "run", ""));
  CHECK(failures_of(vm).empty());
  const auto by_cli =
      run_cli({"run", "--payload", "from the cli", "hooks", "tail", "-n1", "/hooks.log"});
  CHECK(by_cli.code == 0);
  CHECK(by_cli.out.find(" from the cli\n") != std::string::npos);
  const auto inspected = run_cli({"image", "inspect", "hooks"}).out;
  CHECK(inspected.find("\"suspend_ms\": 20000") != std::string::npos);
}

TEST_CASE("hooks: a run hook that fails ends the vm, with the reason") {
  RunningVm other = run_hooks();  // so that the pool and the image are as they will be
  const Holdings before = settled_holdings();
  RunOptions options;
  options.run_hook_payload = "500 no such tenant";
  const auto vm = runtime().run("hooks", options);
  REQUIRE_FALSE(vm);
  CHECK(vm.error().code == ErrorCode::guest_failed);
  CHECK(vm.error().message == "run hook: the app answered 500: no such tenant");
  check_nothing_left(before);
  const auto events = events_of({});
  REQUIRE(events.size() >= 2);
  const VmEvent& failed = events[events.size() - 2];
  CHECK(failed.kind == VmEvent::Kind::hook_failed);
  CHECK(failed.detail == vm.error().message);
  CHECK(events.back().kind == VmEvent::Kind::terminated);
  CHECK(events.back().cause == "run hook");
}

TEST_CASE("hooks: who has read the logs of a vm waits for its run hook all the same") {
  build_hooks_image();
  const pid_t starting =
      start_cli({"run", "-d", "--name", "slow", "--payload", "sleep 5", "hooks"});
  REQUIRE(eventually([] { return runtime().attach("slow").has_value(); }));
  auto attached = runtime().attach("slow");
  REQUIRE_MESSAGE(attached, why(attached));
  RunningVm vm(std::move(*attached));
  REQUIRE(eventually([&] {
    return vm.logs(LogSource::app).value_or("").find("asked run\n") != std::string::npos;
  }));
  CHECK(hooks_of(vm) == kAsked + told(vm, "run", "sleep 5"));
  CHECK(wait_for(starting) == 0);
}

TEST_CASE("hooks: suspend and resume, from the disk and from memory") {
  RunningVm vm = run_hooks();
  std::string expected = kAsked + told(vm, "run", "");
  REQUIRE(vm.suspend());
  expected += told(vm, "suspend") + told(vm, "resume");
  CHECK(hooks_of(vm) == expected);  // the call that wakes it comes after the hook
  REQUIRE(vm.suspend({.wait_durable = false}));
  expected += told(vm, "suspend") + told(vm, "resume");
  CHECK(hooks_of(vm) == expected);
  CHECK(failures_of(vm).empty());
}

TEST_CASE("hooks: every caller waits for a slow resume hook") {
  RunningVm vm = run_hooks();
  shell(vm, "echo sleep 2 > /fail-resume");
  REQUIRE(vm.suspend());
  std::string seen[2];
  {
    std::jthread first([&] { seen[0] = hooks_of(vm); });
    std::jthread second([&] { seen[1] = hooks_of(vm); });
  }
  for (const std::string& hooks : seen) CHECK(hooks.ends_with(told(vm, "resume")));
}

TEST_CASE("hooks: a suspend or resume hook that fails is told by an event and changes nothing") {
  RunningVm vm = run_hooks();
  shell(vm, "echo 500 no disk > /fail-suspend; echo 404 > /fail-resume");
  const auto times = vm.suspend();
  REQUIRE_MESSAGE(times, why(times));
  CHECK(vm.info()->state == VmState::suspended);
  CHECK(shell(vm, "echo here") == "here\n");
  CHECK(failures_of(vm) == std::vector<std::string>{"suspend hook: the app answered 500: no disk",
                                                    "resume hook: the app answered 404"});
  shell(vm, kCloseServer);
  const auto unheard = vm.suspend();
  REQUIRE_MESSAGE(unheard, why(unheard));
  CHECK(shell(vm, "echo here") == "here\n");
  REQUIRE(failures_of(vm).size() == 4);
  CHECK(failures_of(vm).back() == "resume hook: nothing listens on guest port 9000");
}

TEST_CASE("hooks: a suspend that its caller gives up is taken back") {
  RunningVm vm = run_hooks();
  shell(vm, "echo sleep 3 > /fail-suspend");
  const auto times = vm.suspend({}, {nullptr, seconds(1)});
  REQUIRE_FALSE(times);
  CHECK(times.error().code == ErrorCode::deadline_exceeded);
  CHECK(vm.info()->state == VmState::running);
  CHECK(hooks_of(vm).find(told(vm, "resume")) != std::string::npos);
}

TEST_CASE("hooks: a program begun while the app is told of an idle vm's suspend keeps it awake") {
  RunOptions options;
  options.idle.idle_after = seconds(4);
  options.idle.cpu_threshold = 0.4;
  RunningVm vm = run_hooks(options);
  shell(vm, "echo sleep 6 > /fail-suspend");
  const auto asked = [&] {
    return vm.logs(LogSource::app)->find("asked suspend") != std::string::npos;
  };
  REQUIRE((eventually(asked) || eventually(asked)));
  CHECK(shell(vm, "sleep 8; echo done") == "done\n");
}

TEST_CASE("hooks: a vm that is just being resumed has not slept too long") {
  RunOptions options;
  options.idle.suspended_for = seconds(6);
  RunningVm vm = run_hooks(options);
  shell(vm, "echo sleep 5 > /fail-resume");
  REQUIRE(vm.suspend());
  std::this_thread::sleep_for(seconds(4));
  REQUIRE(vm.resume());
  std::this_thread::sleep_for(seconds(5));
  CHECK(vm.info()->state == VmState::running);
  CHECK(shell(vm, "echo here") == "here\n");
}

TEST_CASE("hooks: forks and runs of a checkpoint are runs, a rollback is a resume") {
  RunningVm vm = run_hooks();
  const std::string begun = kAsked + told(vm, "run", "");
  ForkOptions options;
  options.count = 2;
  options.run_hook_payload = "forked";
  auto forks = vm.fork(options);
  REQUIRE_MESSAGE(forks, why(forks));
  for (Vm& fork : *forks) {
    RunningVm ends(fork);
    CHECK(hooks_of(fork) == begun + told(fork, "run", "forked"));
  }
  const auto kept = vm.checkpoint();
  REQUIRE_MESSAGE(kept, why(kept));
  CHECK(hooks_of(vm) == begun);
  const auto rolled_back = vm.rollback(kept->id);
  REQUIRE_MESSAGE(rolled_back, why(rolled_back));
  CHECK(hooks_of(vm) == begun + told(vm, "resume"));
  auto another = runtime().run_checkpoint(kept->id);
  REQUIRE_MESSAGE(another, why(another));
  RunningVm ends(*another);
  CHECK(hooks_of(*another) == begun + told(*another, "run", ""));
  REQUIRE(runtime().remove_checkpoint(kept->id));
}

TEST_CASE("hooks: terminate is told, and not waited for beyond its time") {
  RunOptions stays;
  stays.dies_with_owner = false;
  RunningVm vm = run_hooks(stays);
  REQUIRE(vm.terminate());
  CHECK(vm.logs(LogSource::app).value_or("").find("hook " + told(vm, "terminate")) !=
        std::string::npos);
  CHECK(runtime().remove_vm(vm.id()));
  RunningVm hanging = run_hooks();
  shell(hanging, "echo sleep 100 > /fail-terminate");
  {
    std::jthread ending([&] { CHECK(seconds_of([&] { CHECK(hanging.terminate()); }) < 30); });
    CHECK(eventually([&] { return hanging.info()->state == VmState::terminating; }));
  }
  CHECK(hanging.info()->state == VmState::terminated);
  CHECK(failures_of(hanging) ==
        std::vector<std::string>{"terminate hook: its time is over: no answer"});
}

TEST_CASE("hooks: payloads and options that make no sense are refused") {
  build_hooks_image();
  RunOptions options;
  options.run_hook_payload = "x";
  CHECK(runtime().run("counter", options).error().code == ErrorCode::invalid_argument);
  options.run_hook_payload = "\xff";
  CHECK(runtime().run("hooks", options).error().code == ErrorCode::invalid_argument);
  options.run_hook_payload = std::string(kMaxRunHookPayloadBytes + 1, 'x');
  CHECK(runtime().run("hooks", options).error().code == ErrorCode::invalid_argument);
  const TempDir context;
  BuildOptions build = build_options(context);
  build.hooks.run = seconds(61);
  CHECK(runtime().build(build).error().code == ErrorCode::invalid_argument);
  build.hooks = {.port = 0, .ready = seconds(1)};
  CHECK(runtime().build(build).error().code == ErrorCode::invalid_argument);
}

TEST_CASE("hooks: a build fails when the app is not ready or the snapshot not valid") {
  build_hooks_image();
  check_build_fails("ready 500 no disk", "ready hook: the app answered 500: no disk");
  check_build_fails("validate 500 stale",
                    "the snapshot is not valid: validate hook: the app answered 500: stale");
}
