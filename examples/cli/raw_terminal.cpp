#include "raw_terminal.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <utility>

namespace cli {
namespace {

// Of the one RawTerminal, for signal handlers.
termios original;
std::atomic<bool> is_raw{false};
std::atomic<microvm::CancelToken*> to_cancel{nullptr};
std::array<int, 2> change_pipe = {-1, -1};

constexpr std::array kEndings = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
constexpr std::array kCrashes = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::array kChanges = {SIGWINCH, SIGCONT};
std::array<struct sigaction, kEndings.size() + kCrashes.size() + kChanges.size()> earlier;

void restore() {
  if (is_raw.exchange(false)) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
}

void make_raw() {
  termios raw = original;
  ::cfmakeraw(&raw);
  is_raw = true;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void die_restored(int signal) {
  restore();
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void end_politely(int signal) {
  ::signal(signal, die_restored);  // the second time
  to_cancel.load()->cancel();
}

void on_change(int) {
  const int saved = errno;
  [[maybe_unused]] const auto written = ::write(change_pipe[1], "", 1);
  errno = saved;
}

// Calls visit(signal, handler, place of the earlier action).
template <class Visit>
void each_signal(Visit visit) {
  size_t place = 0;
  for (const int signal : kEndings) visit(signal, end_politely, earlier.at(place++));
  for (const int signal : kCrashes) visit(signal, die_restored, earlier.at(place++));
  for (const int signal : kChanges) visit(signal, on_change, earlier.at(place++));
}

bool size_of(int fd, microvm::PtySize& size) {
  winsize got{};
  if (::ioctl(fd, TIOCGWINSZ, &got) != 0 || got.ws_row == 0 || got.ws_col == 0) return false;
  size = {.rows = got.ws_row, .columns = got.ws_col};
  return true;
}

}  // namespace

bool have_terminal() {
  return ::isatty(STDIN_FILENO) == 1;
}

microvm::PtySize terminal_size() {
  microvm::PtySize size;
  if (!size_of(STDOUT_FILENO, size)) size_of(STDIN_FILENO, size);
  return size;
}

RawTerminal::RawTerminal(microvm::CancelToken& stop) {
  to_cancel = &stop;
  [[maybe_unused]] const int made = ::pipe2(change_pipe.data(), O_CLOEXEC | O_NONBLOCK);
  ::tcgetattr(STDIN_FILENO, &original);
  each_signal([](int signal, void (*handler)(int), struct sigaction& before) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, &before);
  });
  make_raw();
}

RawTerminal::~RawTerminal() {
  restore();
  each_signal([](int signal, void (*)(int), const struct sigaction& before) {
    ::sigaction(signal, &before, nullptr);
  });
  for (int& fd : change_pipe) ::close(std::exchange(fd, -1));
}

int RawTerminal::changes() const {
  return change_pipe[0];
}

void RawTerminal::refresh() {
  std::array<char, 64> discarded{};
  while (::read(change_pipe[0], discarded.data(), discarded.size()) > 0) {
  }
  make_raw();
}

}  // namespace cli
