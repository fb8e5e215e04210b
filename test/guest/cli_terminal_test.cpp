// microvm shell as somebody at a terminal has it.
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

// The CLI on a terminal of its own, and who sits at it.
class Terminal {
 public:
  explicit Terminal(const std::vector<std::string>& arguments) {
    const CliWords words(arguments);
    const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    child_ = ::forkpty(&fd_, nullptr, nullptr, &size);
    REQUIRE(child_ >= 0);
    if (child_ == 0) words.execute();
  }
  ~Terminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      wait_for(child_);
    }
    ::close(fd_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& keys) {
    CHECK(::write(fd_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
  }
  void resize(unsigned short rows, unsigned short columns) {
    const winsize size{.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    CHECK(::ioctl(fd_, TIOCSWINSZ, &size) == 0);
  }
  void read_until(const std::string& text) {
    CAPTURE(seen_);
    while (seen_.find(text) == std::string::npos) REQUIRE(read_more());
    seen_.erase(0, seen_.find(text) + text.size());
  }
  // What it said last, and its exit status.
  CliResult end() {
    while (read_more()) {
    }
    return {wait_for(std::exchange(child_, -1)), seen_};
  }
  // The line discipline leaves the keys alone.
  [[nodiscard]] bool is_raw() const {
    termios mode{};
    REQUIRE(::tcgetattr(fd_, &mode) == 0);
    return (mode.c_lflag & (ICANON | ECHO | ISIG)) == 0;
  }

 private:
  bool read_more() {
    constexpr int kPatienceMs = 60'000;
    pollfd readable{fd_, POLLIN, 0};
    std::array<char, 4096> piece{};
    if (::poll(&readable, 1, kPatienceMs) != 1) return false;
    const auto got = ::read(fd_, piece.data(), piece.size());
    if (got > 0) seen_.append(piece.data(), static_cast<size_t>(got));
    return got > 0;
  }

  int fd_ = -1;
  pid_t child_ = -1;
  std::string seen_;
};

void leave(Terminal& terminal, const std::string& keys, const std::string& told) {
  terminal.type(keys);
  const auto left = terminal.end();
  INFO(left.out);
  CHECK(left.code == 0);
  CHECK(has(left.out, "detached; come back with: microvm shell --session " + told));
  CHECK_FALSE(terminal.is_raw());
}

PtyInfo only_session(Vm& vm) {
  const auto sessions = vm.ptys();
  REQUIRE_MESSAGE(sessions, why(sessions));
  REQUIRE(sessions->size() == 1);
  return sessions->front();
}

}  // namespace

TEST_CASE("microvm shell: the detach keys leave a program, which is come back to") {
  RunningVm vm = run_detached();
  {
    Terminal first({"shell", "--session", "work", "-e", "PS1=ready> ", vm.id(), "sh"});
    first.read_until("ready> ");
    CHECK(first.is_raw());
    first.type("x=41; stty size\r");
    first.read_until("24 80\r\n");
    first.resize(50, 132);
    REQUIRE(eventually([&] { return only_session(vm).size.rows == 50; }));
    first.type("stty size\r");
    first.read_until("50 132\r\n");
    // The first of the keys alone is the program's.
    first.type("cat -v\r");
    first.type("\x10z\r");
    first.read_until("^Pz\r\n");
    first.type("\x04");
    leave(first, "\x10\x11", "work " + vm.id());
  }
  REQUIRE(eventually([&] { return only_session(vm).clients == 0; }));
  CHECK(has(run_cli({"shell", "--list", vm.id()}).out, "running (0 attached)"));
  {
    Terminal other_keys({"shell", "--session", "work", "--detach-keys", "ctrl-x,q", vm.id()});
    other_keys.read_until("50 132\r\n");
    leave(other_keys, "\x18q", "work " + vm.id());
  }
  REQUIRE(eventually([&] { return only_session(vm).clients == 0; }));
  Terminal last({"shell", "--session", "work", vm.id()});
  last.read_until("24 80\r\n");
  last.type("echo $((x + 1)); exit 7\r");
  last.read_until("42\r\n");
  CHECK(last.end().code == 7);
  CHECK_FALSE(last.is_raw());
}
