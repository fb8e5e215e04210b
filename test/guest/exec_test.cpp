// Running programs in a clone: exit codes, streams, users, limits.
#include <csignal>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

ExecResult collect(Vm& vm, const ExecOptions& options, size_t max_bytes = 1u << 20) {
  const auto result = vm.exec_collect(options, {.max_bytes = max_bytes});
  REQUIRE_MESSAGE(result, why(result));
  return *result;
}

bool ends_soon(Vm& vm, uint32_t pid) {
  return shell(vm, "for i in $(seq 100); do [ -d /proc/" + std::to_string(pid) +
                       " ] || { echo gone; exit; }; sleep 0.1; done") == "gone\n";
}

}  // namespace

TEST_CASE("a program's streams and exit code come back") {
  RunningVm vm = run_counter();
  const auto result = shell_result(vm, "echo out; echo err >&2; exit 3");
  CHECK(result.out == "out\n");
  CHECK(result.err == "err\n");
  CHECK(result.status.code == 3);
  CHECK(result.status.signal == 0);
}

TEST_CASE("a missing program is 127, one that is not executable 126, as a shell says") {
  RunningVm vm = run_counter();
  ExecOptions missing;
  missing.argv = {"no-such-program"};
  const auto not_found = collect(vm, missing);
  CHECK(not_found.status.code == 127);
  CHECK(not_found.status.message.find("no-such-program") != std::string::npos);
  ExecOptions directory;
  directory.argv = {"/etc/passwd"};
  CHECK(collect(vm, directory).status.code == 126);
}

TEST_CASE("a signal ends a program and is reported") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sleep", "1000"};
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  CHECK(program->pid() > 1);
  REQUIRE(program->signal(SIGTERM));
  const auto status = program->wait();
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->signal == SIGTERM);
}

TEST_CASE("standard input arrives, and its end") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sha256sum"};
  options.stdin_open = true;
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  const std::vector<std::byte> data(300'000, std::byte{'x'});
  REQUIRE(program->write_stdin(data));
  REQUIRE(program->close_stdin());
  const auto output = program->read();
  REQUIRE_MESSAGE(output, why(output));
  REQUIRE(output->has_value());
  const std::string text(reinterpret_cast<const char*>((*output)->data.data()), 64);
  CHECK(text == "29927e273accc68286005017f7fa6e4f27bddb4db3083ff8b8d4c3667905b7fa");
  CHECK(program->wait()->code == 0);
}

TEST_CASE("the time limit of a program kills it") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sleep", "1000"};
  options.timeout_ms = 500;
  const auto result = collect(vm, options);
  CHECK(result.status.timed_out);
  CHECK(result.status.signal == SIGKILL);
}

TEST_CASE("output larger than every buffer comes whole, and is cut where asked") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sh", "-c", "head -c 3000000 /dev/zero"};
  CHECK(collect(vm, options, 8u << 20).out.size() == 3'000'000);
  CHECK(collect(vm, options, 1000).out.size() == 1000);
}

TEST_CASE("environment, working directory and user") {
  RunningVm vm = run_counter();
  CHECK(shell(vm, "echo $PORT; pwd; id -u") == "8080\n/app\n0\n");
  ExecOptions options;
  options.argv = {"sh", "-c", "echo $PORT $MORE; pwd; id -un"};
  options.env = {"PORT=1", "MORE=2"};
  options.cwd = "/tmp";
  options.user = "nobody";
  CHECK(collect(vm, options).out == "1 2\n/tmp\nnobody\n");
}

TEST_CASE("a call is cut short by its time limit and by its token") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sleep", "1000"};
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  const auto late = program->wait({.cancel = nullptr, .timeout = std::chrono::milliseconds(200)});
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CancelToken token;
  token.cancel();
  const auto cancelled = program->wait({.cancel = &token, .timeout = {}});
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code == ErrorCode::cancelled);
}

TEST_CASE("a dropped handle ends its program") {
  RunningVm vm = run_counter();
  uint32_t pid = 0;
  {
    ExecOptions options;
    options.argv = {"sleep", "1000"};
    const auto program = vm.exec(options);
    REQUIRE_MESSAGE(program, why(program));
    pid = program->pid();
  }
  CHECK(ends_soon(vm, pid));
}

TEST_CASE("a dropped handle ends its program, also one that has not read its input") {
  RunningVm vm = run_counter();
  uint32_t pid = 0;
  {
    ExecOptions options;
    options.argv = {"sleep", "1000"};
    options.stdin_open = true;
    auto program = vm.exec(options);
    REQUIRE_MESSAGE(program, why(program));
    pid = program->pid();
    const std::vector<std::byte> much(4u << 20);
    const auto written =
        program->write_stdin(much, {.cancel = nullptr, .timeout = std::chrono::milliseconds(200)});
    REQUIRE_FALSE(written);
    CHECK(written.error().code == ErrorCode::deadline_exceeded);
  }
  CHECK(ends_soon(vm, pid));
}

TEST_CASE("the app answers on its port; a port nobody listens on is refused") {
  RunningVm vm = run_counter();
  CHECK(http_get(vm, "/").find("\"in_memory\": 1") != std::string::npos);
  CHECK(http_get(vm, "/").find("\"in_memory\": 2") != std::string::npos);
  const auto refused = vm.connect(81);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::connection_refused);
}

TEST_CASE("logs hold what the app printed and the kernel said") {
  RunningVm vm = run_counter();
  http_get(vm, "/");
  // What it prints of a request may come after its answer.
  CHECK(eventually([&] {
    const auto app = vm.logs(LogSource::app);
    REQUIRE_MESSAGE(app, why(app));
    return has(*app, "GET / HTTP/1.0");
  }));
  CHECK(vm.logs(LogSource::kernel).has_value());
}
