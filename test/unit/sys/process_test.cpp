#include "sys/process.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "suite/skip.hpp"
#include "sys/file.hpp"
#include "unit/deaf_caller.hpp"
#include "unit/host/temp_dir.hpp"

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

// As before Linux 5.11 (close-on-exec) and 5.9 (unshare): for this thread, and the children it
// makes.
constexpr uint32_t kCloseOnExec = 4;
constexpr uint32_t kUnshare = 2;
constexpr uint32_t kInvalid = SECCOMP_RET_ERRNO | EINVAL;
void refuse_close_range(uint32_t flag, uint32_t answer = kInvalid) {
  const std::array filter = {
      sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 3, SYS_close_range},
      sock_filter{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, args[2])},
      sock_filter{BPF_JMP | BPF_JEQ | BPF_K, 0, 1, flag},
      sock_filter{BPF_RET | BPF_K, 0, 0, answer},
      sock_filter{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  auto code = filter;  // the kernel's structure takes no const
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  REQUIRE(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  REQUIRE(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  if (answer == kInvalid) REQUIRE(::syscall(SYS_close_range, 1'000'000, ~0U, flag) == -1);
}

TEST_CASE("process: without a call for it no fd leaks either, however many there are") {
  std::thread([] {
    refuse_close_range(kCloseOnExec);
    std::vector<Fd> leaks;  // without close-on-exec
    for (int i = 0; i < 300; ++i) leaks.emplace_back(::open("/dev/null", O_RDONLY));
    leaks.emplace_back(::fcntl(leaks.front().get(), F_DUPFD, 900));
    const auto given = sys::memory_file("given");
    const std::string fds =
        run_shell("ls /proc/$$/fd", {.environment = {"PATH=/usr/bin:/bin"}, .fds = {given->get()}});
    CHECK(fds == "0\n1\n2\n3\n");
    for (const Fd& leak : leaks) CHECK(::fcntl(leak.get(), F_GETFD) == 0);  // ours stay as they are
  }).join();
}

// How large its table of files is, as it came from us.
size_t table_of_child(const SpawnOptions& options = {}) {
  const std::string lines =
      run_shell("while read -r line; do echo $line; done </proc/$$/status", options);
  const size_t at = lines.find("FDSize:");
  REQUIRE(at != std::string::npos);
  return std::stoul(lines.substr(at + 7));
}

TEST_CASE("process: of many files a child's table has those up to what it is given") {
  const Fd low = std::move(*sys::memory_file("low"));
  const Fd highest(::fcntl(low.get(), F_DUPFD_CLOEXEC, 900));
  REQUIRE(highest);
  CHECK(table_of_child({.fds = {low.get()}}) > 900);  // few: it is a copy of ours
  std::vector<Fd> many;
  for (int i = 0; i < 300; ++i) many.emplace_back(::fcntl(low.get(), F_DUPFD_CLOEXEC, 3));
  CHECK(table_of_child({.fds = {low.get()}}) < 900);
  CHECK(table_of_child({.fds = {highest.get()}}) > 900);
  const std::string fds = run_shell(
      "ls /proc/$$/fd", {.environment = {"PATH=/usr/bin:/bin"}, .fds = {low.get(), highest.get()}});
  CHECK(fds == "0\n1\n2\n3\n4\n");
  CHECK(::fcntl(highest.get(), F_GETFD) == FD_CLOEXEC);
  std::thread([&] {
    refuse_close_range(kUnshare);
    CHECK(table_of_child({.fds = {low.get()}}) > 900);
    CHECK(::fcntl(highest.get(), F_GETFD) == FD_CLOEXEC);
  }).join();
}

// Children of this process that have ended and that nobody has reaped.
bool has_zombies() {
  siginfo_t ended{};
  return ::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0;
}

TEST_CASE("process: a child that is killed before it has files of its own is reaped") {
  REQUIRE_FALSE(has_zombies());
  const Fd low = std::move(*sys::memory_file("low"));
  std::vector<Fd> many;
  for (int i = 0; i < 300; ++i) many.emplace_back(::fcntl(low.get(), F_DUPFD_CLOEXEC, 3));
  std::thread([] {
    refuse_close_range(kUnshare, SECCOMP_RET_KILL_PROCESS);
    CHECK(run_shell("echo here") == "here\n");  // by the way without that call
  }).join();
  CHECK_FALSE(has_zombies());
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

namespace {

bool set_memfd_noexec(const char* value) {
  const Fd file(::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC));
  return file.valid() && ::write(file.get(), value, 1) == 1;
}

bool runs(const Result<Fd>& program) {
  if (!program) return false;
  const auto child = sys::spawn(program->get(), {.arguments = {"sh", "-c", "exit 7"}});
  if (!child) return false;
  const auto exit = child->wait(WaitLimits::within(10s));
  return exit && exit->code == 7;
}

// The number of the first that is wrong; in a process namespace of its own, which is where the
// setting is, and can only be made stricter.
int first_wrong_with_memfd_noexec(const std::vector<std::byte>& shell, const std::string& dir) {
  int number = 0;
  for (const char* value : {"1", "2"}) {
    const std::vector<bool> right = {
        set_memfd_noexec(value),
        sys::memory_file("data", 4096).has_value(),
        runs(sys::executable_from_bytes("shell", shell, dir)),
        runs(sys::executable_from_bytes("shell", shell)) == (*value == '1'),
    };
    for (const bool ok : right) {
      ++number;
      if (!ok) return number;
    }
  }
  const auto nowhere = sys::executable_from_bytes("shell", shell, "/proc");
  const bool says_what_to_do = !nowhere && nowhere.error().code == ErrorCode::permission_denied &&
                               nowhere.error().message.find("memfd_noexec") != std::string::npos;
  return says_what_to_do && std::filesystem::is_empty(dir) ? 0 : ++number;
}

}  // namespace

TEST_CASE("process: where programs in memory are forbidden it comes from a directory") {
  if (::geteuid() != 0) SKIP_CASE("needs root");
  if (::access("/proc/sys/vm/memfd_noexec", W_OK) != 0) SKIP_CASE("needs vm.memfd_noexec");
  const auto shell = sys::read_file(AT_FDCWD, "/bin/sh", 16u << 20);
  REQUIRE(shell);
  const test::TempDir dir;
  const pid_t outer = ::fork();
  if (outer == 0) {
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(99);
    const pid_t inner = ::fork();
    if (inner == 0) ::_exit(first_wrong_with_memfd_noexec(*shell, dir.path().string()));
    int status = 0;
    ::waitpid(inner, &status, 0);
    ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
  }
  int status = 0;
  REQUIRE(::waitpid(outer, &status, 0) == outer);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
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
