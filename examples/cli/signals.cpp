#include "signals.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace cli {
namespace {

constexpr std::array kAsksForEnd = {SIGINT, SIGTERM, SIGHUP};
constexpr std::array kOnlyPassed = {SIGQUIT, SIGUSR1, SIGUSR2};
// timeout(1) signals us and then our process group: that is one time.
constexpr int64_t kSameTimeMs = 200;

// What the handlers share. Of the one command, and the one relay that may live.
std::atomic<microvm::CancelToken*> to_cancel{nullptr};
std::atomic<microvm::CancelToken*> to_cut{nullptr};
std::atomic<int> relay_pipe{-1};
std::atomic<int> times_asked{0};
std::atomic<int> last_asked{0};
std::atomic<int64_t> last_asked_ms{0};
std::atomic<int> cancelled_by{0};
std::atomic<int> cut_by{0};

int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

bool is_same_time(int signal) {
  const int64_t now = now_ms();
  const bool same = signal == last_asked && now - last_asked_ms < kSameTimeMs;
  last_asked = signal;
  last_asked_ms = now;
  return same;
}

void pass_on(int signal) {
  const int saved = errno;
  [[maybe_unused]] const auto written = ::write(relay_pipe, &signal, sizeof signal);
  errno = saved;
}

void end_at_once(int signal) {
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void on_first(int signal) {
  if (relay_pipe >= 0) return pass_on(signal);
  cancelled_by = signal;
  to_cancel.load()->cancel();
}

void on_second(int signal) {
  if (relay_pipe < 0) return end_at_once(signal);
  cut_by = signal;
  to_cut.load()->cancel();
}

void on_asked(int signal) {
  if (is_same_time(signal)) return;
  const int times = ++times_asked;
  if (times == 1) return on_first(signal);
  if (times == 2) return on_second(signal);
  end_at_once(signal);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action{};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

void cancel_on_signals(microvm::CancelToken& token) {
  to_cancel = &token;
  for (const int signal : kAsksForEnd) {
    if (signal != SIGHUP || !is_ignored(signal)) handle(signal, on_asked);
  }
  ::signal(SIGPIPE, SIG_IGN);
}

int signal_of_cancel() {
  return cancelled_by;
}

SignalRelay::SignalRelay(PassOn pass_on_signal) : pass_on_(std::move(pass_on_signal)) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;  // they cancel, as before
  to_cut = &cut_;
  relay_pipe = ends[1];
  for (const int signal : kOnlyPassed) {
    if (!is_ignored(signal)) handle(signal, pass_on);
  }
  thread_ = std::thread([this, from = ends[0]] { serve(from); });
}

SignalRelay::~SignalRelay() {
  for (const int signal : kOnlyPassed) {
    if (!is_ignored(signal)) handle(signal, SIG_DFL);
  }
  relay_pipe = -1;  // and stays open: a handler may be about to write
  stop_.cancel();
  if (thread_.joinable()) thread_.join();
}

int SignalRelay::signal_of_cut() {
  return cut_by;
}

void SignalRelay::serve(int from) const {
  bool had_earlier = false;
  while (!stop_.cancelled()) {
    const int earlier = had_earlier ? -1 : to_cancel.load()->fd();
    std::array<pollfd, 3> fds = {pollfd{from, POLLIN, 0}, pollfd{stop_.fd(), POLLIN, 0},
                                 pollfd{earlier, POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    int signal = 0;
    if (fds[2].revents != 0) {
      had_earlier = true;
      pass_on_(cancelled_by, cut_);
    }
    if (::read(from, &signal, sizeof signal) == sizeof signal) pass_on_(signal, cut_);
  }
}

}  // namespace cli
