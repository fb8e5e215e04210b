#include "suite/children.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/fd.hpp"
#include "suite/events.hpp"

namespace suite {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using microvm::base::Fd;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(2);
}

// Ends of children, and what asks us to end (Ctrl-C, timeout(1)), are read from an fd, beside the
// events.
class ChildSignals {
 public:
  ChildSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, &before_);
    fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) give_up("signalfd");
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  void drain() {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo != SIGCHLD) asked_to_end_ = static_cast<int>(info.ssi_signo);
    }
  }
  // By this signal; 0: not yet.
  [[nodiscard]] int asked_to_end() const { return asked_to_end_; }
  void restore() {
    fd_.reset();
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_{};
  Fd fd_;
  int asked_to_end_ = 0;
};

// What a child leaves below the system's temporary directory goes with it, also when it was killed.
class ScratchDir {
 public:
  ScratchDir() {
    path_ = (std::filesystem::temp_directory_path() / "suite-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) give_up(path_.c_str());
    // Cases become other users as well.
    if (::chmod(path_.c_str(), 0755) != 0) give_up(path_.c_str());
  }
  ~ScratchDir() {
    // Not into what a killed case has mounted.
    const std::string command = "rm -rf --one-file-system '" + path_ + "'";
    if (::rmdir(path_.c_str()) != 0 && std::system(command.c_str()) != 0) {
      std::fprintf(stderr, "%s: not removed\n", path_.c_str());
    }
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  void use() const { ::setenv("TMPDIR", path_.c_str(), 1); }

 private:
  std::string path_;
};

// The children of a process, without those below them.
std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ec)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const size_t name_end = stat.rfind(')');
    char state = 0;
    int ppid = 0;
    if (name_end == std::string::npos) continue;
    if (std::sscanf(stat.c_str() + name_end + 1, " %c %d", &state, &ppid) != 2) continue;
    if (ppid == parent) found.push_back(pid);
  }
  return found;
}

std::string describe(int status) {
  if (WIFSIGNALED(status)) {
    return "crashed by signal " + std::to_string(WTERMSIG(status)) + " (" +
           ::strsignal(WTERMSIG(status)) + ")";
  }
  return "ended the process with status " + std::to_string(WEXITSTATUS(status));
}

// One child, from its start to its end.
class Child {
 public:
  Child(const RunCases& run, ChildSignals& signals, unsigned first, Seconds limit, Totals& totals)
      : signals_(signals), limit_(limit), totals_(totals) {
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
      give_up("socketpair");
    }
    socket_.reset(sockets[0]);
    const Fd theirs(sockets[1]);
    pid_ = ::fork();
    if (pid_ < 0) give_up("fork");
    if (pid_ == 0) become_child(run, first, theirs.get());
    expect_within(limit_);
  }

  // Returns when it has ended, by itself or because a case took too long, and nothing of it is
  // left.
  void follow() {
    while (!status_) {
      wait_for_news();
      read_events();
      reap();
      if (status_) break;
      hung_ = Clock::now() >= deadline_;
      if (hung_ || signals_.asked_to_end() != 0) end_now();
    }
    read_events();
    judge_end();
    kill_left_over();
  }

  [[nodiscard]] unsigned begun() const { return begun_; }
  [[nodiscard]] bool finished() const { return finished_; }

 private:
  [[noreturn]] void become_child(const RunCases& run, unsigned first, int socket) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    socket_.reset();
    signals_.restore();
    scratch_.use();
    // What a case that is killed has printed is not lost.
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    // The objects here are the parent's: exit() leaves them alone.
    std::exit(run(first, socket));
  }

  void expect_within(Seconds limit) {
    current_limit_ = limit;
    deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
  }

  void wait_for_news() {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
    std::array<pollfd, 2> fds{{{.fd = signals_.fd(), .events = POLLIN, .revents = 0},
                               {.fd = socket_.get(), .events = POLLIN, .revents = 0}}};
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left + 1, 0)));
    if (fds[1].revents == POLLHUP) socket_.reset();
  }

  void read_events() {
    while (const auto event = receive_event(socket_.get())) take(*event);
  }

  void take(const Event& event) {
    if (event.kind == Event::Kind::finished) finished_ = true;
    if (event.kind == Event::Kind::begin) {
      ++begun_;
      open_ = event;
    }
    if (event.kind == Event::Kind::end && open_) take_end(event);
    expect_within(event.limit_s > 0 ? Seconds(event.limit_s) : limit_);
  }

  void take_end(const Event& event) {
    totals_.asserts += event.asserts;
    totals_.failed_asserts += event.failed_asserts;
    last_failed_ = !event.failed.empty();
    if (last_failed_) {
      fail(event.failed);
    } else if (!event.skipped.empty()) {
      totals_.skips.push_back(which() + ": " + event.skipped);
    } else {
      ++totals_.passed;
    }
    open_.reset();
  }

  // Processes of the cases that were orphaned are ours as well.
  void reap() {
    signals_.drain();
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid == pid_) status_ = status;
    }
  }

  void end_now() {
    int status = 0;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
    status_ = status;
  }

  [[nodiscard]] std::string which() const {
    return open_ ? open_->name + " (" + open_->place + ")" : "between cases, or after the last";
  }

  void fail(const std::string& why) {
    totals_.failures.push_back(which() + ": " + why);
    open_.reset();
  }

  void judge_end() {
    totals_.ran = totals_.ran || finished_ || begun_ > 0;
    totals_.status = WIFEXITED(*status_) ? WEXITSTATUS(*status_) : 1;
    // doctest reports a crash, which ends the case as failed, and then lets it happen.
    const bool told = WIFSIGNALED(*status_) && !open_ && last_failed_ && !finished_;
    const bool complete = WIFEXITED(*status_) && finished_;
    if (hung_) {
      std::ostringstream why;
      why << "hung: not done within " << current_limit_.count() << " s";
      fail(why.str());
    } else if (begun_ > 0 && !complete && !told) {
      fail(describe(*status_));
    }
  }

  // In rounds, because the children of what ends become ours.
  static void kill_left_over() {
    for (auto left = children_of(::getpid()); !left.empty(); left = children_of(::getpid())) {
      for (const pid_t pid : left) ::kill(pid, SIGKILL);
      for (const pid_t pid : left) ::waitpid(pid, nullptr, 0);
    }
  }

  ChildSignals& signals_;
  const Seconds limit_;
  Totals& totals_;
  ScratchDir scratch_;
  pid_t pid_ = -1;
  Fd socket_;
  Clock::time_point deadline_;
  Seconds current_limit_{};
  std::optional<Event> open_;  // the case that runs
  std::optional<int> status_;
  unsigned begun_ = 0;
  bool finished_ = false;
  bool last_failed_ = false;
  bool hung_ = false;
};

}  // namespace

Totals run_in_children(const RunCases& run, Seconds limit) {
  Totals totals;
  ChildSignals signals;
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  bool more = true;
  for (unsigned first = 1; more && signals.asked_to_end() == 0;) {
    Child child(run, signals, first, limit, totals);
    child.follow();
    // None begun: a child that was only asked a question, or could not start.
    more = !child.finished() && child.begun() != 0;
    first += child.begun();
  }
  // As it would have ended us, but with nothing left behind.
  if (const int number = signals.asked_to_end(); number != 0) {
    signals.restore();
    ::raise(number);
  }
  return totals;
}

}  // namespace suite
