#include "sys/process.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "sys/file.hpp"
#include "unit/deaf_caller.hpp"

using namespace microvm;
using namespace std::chrono_literals;
using base::Fd;
using sys::SpawnOptions;
using sys::WaitLimits;

namespace {

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  std::string read_all() {
    in.reset();
    const auto bytes = sys::read_all(out.get(), 1 << 20);
    REQUIRE(bytes);
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }
  Fd out;
  Fd in;
};

std::string run_shell(const std::string& script, SpawnOptions options = {}) {
  const auto shell = sys::open_at(AT_FDCWD, "/bin/sh", O_RDONLY);
  REQUIRE(shell);
  Pipe output;
  options.arguments = {"sh", "-c", script};
  options.standard_output = output.in.get();
  const auto child = sys::spawn(shell->get(), options);
  REQUIRE(child);
  std::string text = output.read_all();
  REQUIRE(child->wait(WaitLimits::within(5s)));
  return text;
}

}  // namespace

TEST_CASE("process: exit codes, signals, and a wait that gives up") {
  const auto shell = sys::open_at(AT_FDCWD, "/bin/sh", O_RDONLY);
  const auto spawn = [&](const char* script) {
    return sys::spawn(shell->get(), {.arguments = {"sh", "-c", script}});
  };
  const auto seven = spawn("exit 7");
  REQUIRE(seven);
  const auto exit = seven->wait(WaitLimits::within(5s));
  REQUIRE(exit);
  CHECK(exit->code == 7);
  CHECK(exit->signal == 0);
  CHECK(seven->wait().error().code == ErrorCode::not_found);
  CHECK(seven->kill());  // ended: nothing to do

  const auto sleeper = spawn("exec sleep 100");
  REQUIRE(sleeper);
  CHECK(sleeper->wait(WaitLimits::within(5ms)).error().code == ErrorCode::deadline_exceeded);
  REQUIRE(sleeper->kill());
  CHECK(sleeper->wait(WaitLimits::within(5s))->signal == SIGKILL);
}

TEST_CASE("process: the child has the fds it was given and no other") {
  const Fd leak(
      ::open("/dev/null", O_RDONLY));  // without close-on-exec, as a foreign library would
  const auto first = sys::memory_file("first");
  const auto second = sys::memory_file("second");
  const std::string fds = run_shell("ls -l /proc/$$/fd", {.environment = {"PATH=/usr/bin:/bin"},
                                                          .fds = {second->get(), first->get()}});
  CAPTURE(fds);
  CHECK(fds.find(" 3 -> /memfd:second") != std::string::npos);
  CHECK(fds.find(" 4 -> /memfd:first") != std::string::npos);
  CHECK(fds.find(" 0 -> /dev/null") != std::string::npos);
  CHECK(fds.find(" 2 -> /dev/null") != std::string::npos);
  for (const char* line : {" 5 -> ", " 6 -> ", " 7 -> ", " 8 -> ", " 9 -> "}) {
    CHECK(fds.find(line) == std::string::npos);
  }
}

TEST_CASE("process: fds that stand where others must go") {
  // The child's 3 and 4 are our 4 and 3; both are put back.
  const auto above = [](int fd) { return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 100)); };
  const Fd saved3 = above(3);
  const Fd saved4 = above(4);
  const Fd a = above(sys::memory_file("aaa")->get());
  const Fd b = above(sys::memory_file("bbb")->get());
  const Fd shell = above(sys::open_at(AT_FDCWD, "/bin/sh", O_RDONLY)->get());
  const Fd output = above(sys::memory_file("out")->get());
  REQUIRE(::dup3(a.get(), 4, O_CLOEXEC) == 4);
  REQUIRE(::dup3(b.get(), 3, O_CLOEXEC) == 3);
  const auto child = sys::spawn(
      shell.get(), {.arguments = {"sh", "-c", "readlink /proc/$$/fd/3; readlink /proc/$$/fd/4"},
                    .environment = {"PATH=/usr/bin:/bin"},
                    .fds = {4, 3},
                    .standard_output = output.get()});
  const auto put_back = [](const Fd& saved, int fd) {
    if (!saved.valid()) return ::close(fd);
    return ::dup3(saved.get(), fd, O_CLOEXEC);
  };
  CHECK(put_back(saved3, 3) >= 0);
  CHECK(put_back(saved4, 4) >= 0);
  REQUIRE(child);
  REQUIRE(child->wait(WaitLimits::within(5s)));
  std::array<char, 64> text{};
  REQUIRE(::pread(output.get(), text.data(), text.size(), 0) > 0);
  CHECK(std::string(text.data()) == "/memfd:aaa (deleted)\n/memfd:bbb (deleted)\n");
}

TEST_CASE("process: environment, directory and session are the child's own") {
  CHECK(run_shell("echo $A-$HOME; pwd", {.environment = {"A=b"}, .new_session = true}) ==
        "b-\n/\n");
  const std::string session =
      run_shell("cut -d' ' -f6 /proc/$$/stat; echo $$",
                {.environment = {"PATH=/usr/bin:/bin"}, .new_session = true});
  const size_t half = session.find('\n') + 1;
  CHECK(session.substr(0, half) == session.substr(half));
}

TEST_CASE("process: no signal is ignored or blocked, whatever the caller ignores and blocks") {
  const test::DeafCaller caller;
  // Of the shell's own process: it blocks signals itself around the start of another.
  CHECK(run_shell("exec grep -E 'Sig(Blk|Ign):' /proc/self/status") ==
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("process: a program in memory is sealed and runs") {
  const auto bytes = sys::read_file(AT_FDCWD, "/bin/true", 16u << 20);
  REQUIRE(bytes);
  const auto program = sys::executable_from_bytes("in-memory", *bytes);
  REQUIRE(program);
  CHECK(::pwrite(program->get(), "x", 1, 0) < 0);
  const auto child = sys::spawn(program->get(), {.arguments = {"in-memory"}});
  REQUIRE(child);
  CHECK(child->wait(WaitLimits::within(5s))->code == 0);
}

TEST_CASE("process: what cannot be executed is an error with its name") {
  const auto text = sys::executable_from_bytes("nonsense", std::as_bytes(std::span("not ELF")));
  REQUIRE(text);
  const auto child = sys::spawn(text->get(), {.arguments = {"nonsense"}});
  REQUIRE_FALSE(child);
  CHECK(child.error().message.find("execute nonsense") == 0);
  CHECK_FALSE(sys::spawn(-1, {.arguments = {"x"}}));
  CHECK_FALSE(sys::spawn(text->get(), {.arguments = {"x"}, .fds = {9999}}));
}
