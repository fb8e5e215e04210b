// Programs of exec belong to the Vm: over suspend, fork, rollback and the loss of their client.
#include <poll.h>
#include <sys/wait.h>

#include <csignal>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr CallLimits kLong{.cancel = nullptr, .timeout = std::chrono::seconds(120)};

ExecOptions in_shell(const std::string& script) {
  ExecOptions options;
  options.argv = {"sh", "-c", script};
  options.id = "p";
  return options;
}

// A number a line, a few hundred a second where the guest is fast.
constexpr const char* kCounter =
    "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 7";

std::string lines_to(int count) {
  std::string text;
  for (int i = 0; i < count; i++) text += "line " + std::to_string(i) + "\n";
  return text;
}

// Until so many bytes have come, or the end.
std::string read_some(Exec& exec, size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    const auto output = exec.read(kLong);
    REQUIRE_MESSAGE(output, why(output));
    if (!*output) break;
    CHECK((*output)->lost_bytes == 0);
    text.append(reinterpret_cast<const char*>((*output)->data.data()), (*output)->data.size());
  }
  return text;
}

// Until it fails.
ErrorCode error_of_reading(Exec& exec, std::string& text) {
  for (;;) {
    const auto output = exec.read(kLong);
    if (!output) return output.error().code;
    REQUIRE(*output);
    text.append(reinterpret_cast<const char*>((*output)->data.data()), (*output)->data.size());
  }
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

ExecInfo info_of(Vm& vm, const std::string& id = "p") {
  const auto infos = vm.execs(kLong);
  REQUIRE_MESSAGE(infos, why(infos));
  for (const auto& info : *infos) {
    if (info.id == id) return info;
  }
  return {};
}

}  // namespace

TEST_CASE("a program goes on over a suspend, and who attaches again reads on where it was") {
  RunningVm vm = run_counter();
  const std::string all = lines_to(3000);
  auto first = vm.exec(in_shell(kCounter));
  REQUIRE_MESSAGE(first, why(first));
  std::string text = read_some(*first, 100);
  suspend(vm);
  CHECK(error_of_reading(*first, text) == ErrorCode::vm_suspended);
  CHECK(first->wait(kLong).error().code == ErrorCode::vm_suspended);
  CHECK(first->write_stdin(bytes_of("x")).error().code == ErrorCode::vm_suspended);
  CHECK(first->position() == text.size());
  ExecAttachOptions options;
  options.position = first->position();
  auto second = vm.attach_exec("p", options, kLong);
  REQUIRE_MESSAGE(second, why(second));
  text += read_some(*second, all.size());
  CHECK(text == all);
  CHECK(second->wait(kLong)->code == 7);
  CHECK(vm.attach_exec("p", {}, kLong).error().code == ErrorCode::not_found);
}

TEST_CASE("a handle that attaches again by itself reads each line once, over five suspends") {
  RunningVm vm = run_counter();
  const std::string all = lines_to(3000);
  auto options = in_shell(kCounter);
  options.reattach = true;
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  const int fd = program->fd();
  std::string text;
  for (int i = 0; i < 5; i++) {
    text += read_some(*program, 200);
    suspend(vm);
  }
  pollfd readable{.fd = program->fd(), .events = POLLIN, .revents = 0};
  CHECK(::poll(&readable, 1, 10'000) == 1);
  text += read_some(*program, all.size());
  CHECK(text == all);
  CHECK(program->fd() == fd);
  CHECK(program->wait(kLong)->code == 7);
}

TEST_CASE("and its stdin arrives whole and once") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"cat"};
  options.stdin_open = true;
  options.reattach = true;
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  const std::string all = lines_to(40'000);
  std::string text;
  std::thread reader([&] { text = read_some(*program, all.size() + 1); });
  const size_t piece = all.size() / 4 + 1;
  for (size_t at = 0; at < all.size(); at += piece) {
    const auto written =
        program->write_stdin(bytes_of(std::string_view(all).substr(at, piece)), kLong);
    CHECK_MESSAGE(written, why(written));
    CHECK(vm.suspend());
  }
  CHECK(program->close_stdin(kLong));
  reader.join();
  CHECK(text.size() == all.size());
  CHECK(text == all);
}

TEST_CASE("a program's end while nobody is there is kept; another process suspends and looks") {
  RunningVm vm = run_detached();
  auto program = vm.exec(
      in_shell("echo before; while ! test -e /tmp/go; do sleep 0.1; done; echo after; exit 5"));
  REQUIRE_MESSAGE(program, why(program));
  std::string text = read_some(*program, 7);
  REQUIRE(run_cli({"suspend", vm.id()}).code == 0);
  CHECK(error_of_reading(*program, text) == ErrorCode::vm_suspended);
  CHECK(text == "before\n");
  REQUIRE(run_cli({"resume", vm.id()}).code == 0);
  CHECK(program->read(kLong).error().code == ErrorCode::vm_suspended);
  shell(vm, "touch /tmp/go");
  REQUIRE(eventually([&] { return info_of(vm).ended.has_value(); }));
  CHECK(info_of(vm).ended->code == 5);
  suspend(vm);
  ExecAttachOptions options;
  options.position = program->position();
  auto late = vm.attach_exec("p", options, kLong);
  REQUIRE_MESSAGE(late, why(late));
  CHECK(read_some(*late, 100) == "after\n");
  CHECK(late->wait(kLong)->code == 5);
}

TEST_CASE("in a fork a copy of the program goes on, and the program itself as if nothing were") {
  RunningVm vm = run_counter();
  auto program = vm.exec(in_shell("for i in $(seq 1000); do echo $i; sleep 0.01; done; exit 3"));
  REQUIRE_MESSAGE(program, why(program));
  std::string text = read_some(*program, 20);
  auto forks = vm.fork();
  REQUIRE_MESSAGE(forks, why(forks));
  RunningVm fork((*forks)[0]);
  CHECK(info_of(fork).pid == program->pid());
  ExecAttachOptions options;
  options.position = 0;
  auto copy = fork.attach_exec("p", options, kLong);
  REQUIRE_MESSAGE(copy, why(copy));
  const std::string theirs = read_some(*copy, 1u << 20);
  CHECK(copy->wait(kLong)->code == 3);
  text += read_some(*program, 1u << 20);
  CHECK(program->wait(kLong)->code == 3);
  CHECK(text == theirs);
  CHECK(text.ends_with("\n1000\n"));
  CHECK(fork.attach_exec("p", {}, kLong).error().code == ErrorCode::not_found);
  auto other = vm.exec(in_shell("exec sleep 1000"));
  REQUIRE(other);
  CHECK(fork.signal_exec("p", SIGTERM, kLong).error().code == ErrorCode::not_found);
}

TEST_CASE("a rollback takes a program back, and a position that it has not come to is refused") {
  RunningVm vm = run_counter();
  auto options = in_shell("i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done");
  options.reattach = true;
  auto program = vm.exec(options);
  REQUIRE_MESSAGE(program, why(program));
  std::string text = read_some(*program, 30);
  const auto checkpoint = vm.checkpoint({"then"}, kLong);
  REQUIRE_MESSAGE(checkpoint, why(checkpoint));
  text += read_some(*program, 2000);
  REQUIRE(vm.rollback("then", kLong));
  std::string rest;
  CHECK(error_of_reading(*program, rest) == ErrorCode::invalid_argument);
  ExecAttachOptions from_start;
  from_start.position = 0;
  from_start.take_over = true;
  auto second = vm.attach_exec("p", from_start, kLong);
  REQUIRE_MESSAGE(second, why(second));
  const std::string again = read_some(*second, text.size() + 500);
  CHECK(again.substr(0, text.size()) == text);
  CHECK(vm.signal_exec("p", SIGKILL, kLong));
}

TEST_CASE("a client that is killed leaves its program running, and another comes back to it") {
  RunningVm vm = run_detached();
  const pid_t client = start_cli(
      {"exec", vm.id(), "--", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"});
  std::string id;  // the image's build has used some numbers
  REQUIRE(eventually([&] {
    const auto infos = vm.execs(kLong);
    if (infos && !infos->empty()) id = infos->front().id;
    return !id.empty();
  }));
  REQUIRE(eventually([&] { return info_of(vm, id).output_bytes > 10; }));
  REQUIRE(::kill(client, SIGKILL) == 0);
  wait_for(client);
  REQUIRE(eventually([&] { return info_of(vm, id).clients == 0; }));
  const uint64_t then = info_of(vm, id).output_bytes;
  CHECK(eventually([&] { return info_of(vm, id).output_bytes > then; }));
  auto second = vm.attach_exec(id, {}, kLong);
  REQUIRE_MESSAGE(second, why(second));
  CHECK(read_some(*second, 20).starts_with("0\n1\n2\n"));
  CHECK(vm.signal_exec(id, SIGTERM, kLong));
  CHECK(vm.wait_exec(id, kLong)->signal == SIGTERM);
  CHECK(vm.wait_exec(id, kLong).error().code == ErrorCode::not_found);
}

TEST_CASE("a client killed in any phase of its exec leaves a guest that runs the next") {
  RunningVm vm = run_detached();
  for (int ms = 0; ms < 400; ms += 40) {
    const pid_t client = start_cli({"exec", "-i", vm.id(), "--", "cat"});
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    ::kill(client, SIGKILL);
    wait_for(client);
  }
  CHECK(shell(vm, "echo still") == "still\n");
  const auto infos = vm.execs(kLong);
  REQUIRE(infos);
  for (const auto& info : *infos) {
    // One may have ended by itself, or be collected just now.
    static_cast<void>(vm.signal_exec(info.id, SIGKILL, kLong));
    const auto status = vm.wait_exec(info.id, kLong);
    CHECK((status || status.error().code == ErrorCode::not_found));
  }
  CHECK(vm.execs(kLong)->empty());
}

TEST_CASE("a detached program is never slowed, and sleeps and wakes with its vm") {
  RunningVm vm = run_counter();
  auto options = in_shell("yes | head -c 3000000; echo; echo done; sleep 1000");
  options.detached = true;
  {
    REQUIRE(vm.exec(options));
  }
  REQUIRE(eventually([&] { return info_of(vm).output_bytes == 3'000'006; }));
  CHECK(vm.exec(options).error().code == ErrorCode::already_exists);
  suspend(vm);
  CHECK(info_of(vm).pid > 0);
  auto reader = vm.attach_exec("p", {}, kLong);
  REQUIRE_MESSAGE(reader, why(reader));
  const std::string kept = read_some(*reader, 3'000'006 - reader->position());
  CHECK(kept.size() == 256 * 1024);
  CHECK(kept.ends_with("y\n\ndone\n"));
  REQUIRE(vm.signal_exec("p", SIGTERM, kLong));
  CHECK(reader->wait(kLong)->signal == SIGTERM);
}

TEST_CASE("a server that an exec leaves behind goes on writing, over a suspend too") {
  RunningVm vm = run_counter();
  const auto left =
      shell(vm, "(while echo log line; do echo x >>/tmp/alive; sleep 0.1; done; ) & echo started");
  CHECK(has(left, "started\n"));
  const auto count = [&] { return std::stoi(shell(vm, "wc -l </tmp/alive")); };
  const int before = count();
  CHECK(eventually([&] { return count() > before + 5; }));
  suspend(vm);
  const int woken = count();
  CHECK(eventually([&] { return count() > woken + 5; }));
}

TEST_CASE("arguments as Linux takes them, and its word where they are more") {
  RunningVm vm = run_counter();
  ExecOptions options;
  options.argv = {"sh", "-c", "echo $#", "sh"};
  for (int i = 0; i < 15; i++) options.argv.emplace_back(100'000, 'x');
  const auto many = vm.exec_collect(options, {}, kLong);
  REQUIRE_MESSAGE(many, why(many));
  CHECK(many->out == "15\n");
  options.argv.emplace_back(140'000, 'x');
  const auto long_one = vm.exec_collect(options, {}, kLong);
  REQUIRE_MESSAGE(long_one, why(long_one));
  CHECK(long_one->status.code == 126);
  CHECK(has(long_one->status.message, "argument list too long"));
}

TEST_CASE("many programs at once have room in a small guest") {
  RunningVm vm = run_counter();
  for (int i = 0; i < 100; i++) {
    ExecOptions options;
    options.argv = {"sh", "-c", "head -c 300000 /dev/zero; exec sleep 1000"};
    options.id = "e" + std::to_string(i);
    options.detached = true;
    const auto program = vm.exec(options, kLong);
    REQUIRE_MESSAGE(program, why(program));
  }
  CHECK(vm.execs(kLong)->size() == 100);
  REQUIRE(eventually([&] { return info_of(vm, "e99").output_bytes == 300'000; }));
  suspend(vm);
  for (int i = 0; i < 100; i++) CHECK(vm.signal_exec("e" + std::to_string(i), SIGKILL, kLong));
  for (int i = 0; i < 100; i++) CHECK(vm.wait_exec("e" + std::to_string(i), kLong));
  CHECK(vm.execs(kLong)->empty());
}
