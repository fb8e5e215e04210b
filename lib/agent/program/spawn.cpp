#include "agent/program/spawn.hpp"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "agent/network/loopback.hpp"
#include "agent/program/file_limit.hpp"
#include "base/close_on_exec.hpp"

namespace microvm::agent {
namespace {

enum class Step : int { set_up, network, identity, cwd, exec, interpreter };

// What the child tells through a pipe that exec closes.
struct Report {
  Step step;
  int error;
};

// Everything the child needs, laid out before it exists: between clone and exec it shares no lock
// with the agent's other threads, so it may only make system calls.
struct Plan {
  std::vector<std::string> files;
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::string home;
  const char* cwd = "/";
  User user;
  Streams streams;
  bool no_network = false;
  int report_fd = -1;
};

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 2);
  for (const auto& text : strings) out.push_back(const_cast<char*>(text.c_str()));
  return out;
}

Plan make_plan(const Program& program, User user, const Streams& streams) {
  Plan plan;
  plan.files = candidate_files(program);
  plan.arguments = pointers(program.arguments);
  plan.arguments.push_back(nullptr);
  plan.environment = pointers(program.environment);
  plan.home = "HOME=" + user.home;
  if (find_variable(program.environment, "HOME") == nullptr)
    plan.environment.push_back(plan.home.data());
  plan.environment.push_back(nullptr);
  if (!program.cwd.empty()) plan.cwd = program.cwd.c_str();
  plan.user = std::move(user);
  plan.streams = streams;
  plan.no_network = program.no_network;
  return plan;
}

// --- in the child
// ---------------------------------------------------------------------------------

[[noreturn]] void give_up(const Plan& plan, Step step) {
  const Report report{.step = step, .error = errno};
  [[maybe_unused]] const ssize_t written = write(plan.report_fd, &report, sizeof report);
  _exit(127);
}

// An ignored signal stays ignored over execve, and a mask is kept: whatever the agent, or the
// thread that spawns, ignores or blocks. First all defaults, then what waits may come.
void reset_signals() {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// The agent is protected from the kernel's out-of-memory killer; a program of the image is not.
void allow_oom_kill() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "0", 1);
  close(fd);
}

bool set_streams(const Streams& streams) {
  return dup2(streams.in, 0) == 0 && dup2(streams.out, 1) == 1 && dup2(streams.err, 2) == 2 &&
         (!streams.terminal || ioctl(0, TIOCSCTTY, 0) == 0) && base::close_on_exec_from(3);
}

// Raw calls: the C library's versions would signal all threads, which this copy does not have.
bool become(const User& user) {
  return syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0 &&
         syscall(SYS_setresgid, user.gid, user.gid, user.gid) == 0 &&
         syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0;
}

bool is_absence(int error) {
  return error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
}

[[noreturn]] void execute(const Plan& plan) {
  bool denied = false;
  for (const auto& file : plan.files) {
    execve(file.c_str(), plan.arguments.data(), plan.environment.data());
    if (errno == ENOENT && access(file.c_str(), F_OK) == 0) {
      errno = ENOENT;
      give_up(plan, Step::interpreter);
    }
    if (errno == EACCES)
      denied = true;
    else if (!is_absence(errno))
      give_up(plan, Step::exec);
  }
  errno = denied ? EACCES : ENOENT;
  give_up(plan, Step::exec);
}

[[noreturn]] void run_child(const Plan& plan) {
  reset_signals();
  if (setsid() < 0 || !set_streams(plan.streams)) give_up(plan, Step::set_up);
  allow_oom_kill();
  restore_file_limit();
  if (plan.no_network && !enter_empty_network()) give_up(plan, Step::network);
  if (!become(plan.user)) give_up(plan, Step::identity);
  if (chdir("/") != 0 || chdir(plan.cwd) != 0) give_up(plan, Step::cwd);
  execute(plan);
}

// --- in the agent
// ---------------------------------------------------------------------------------

// Cloned into its cgroup, so that no instruction of it runs outside. Without CLONE_VM: a copy.
pid_t clone_child(int cgroup, int& pidfd) {
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  if (cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(cgroup);
  }
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
}

SpawnFailure describe(const Program& program, const Report& report) {
  const std::string reason = error_text(report.error);
  const std::string exec = "exec: \"" + program.arguments.front() + "\": ";
  const bool has_slash = program.arguments.front().find('/') != std::string::npos;
  switch (report.step) {
    case Step::cwd:
      return {126, "cwd \"" + program.cwd + "\": " + reason};
    case Step::network:
      return {126, exec + "a network of its own: " + reason};
    case Step::identity:
      return {126, "user \"" + program.user + "\": " + reason};
    case Step::interpreter:
      return {127, exec + "the interpreter it names is missing in the image"};
    case Step::exec:
      if (report.error == ENOENT && !has_slash) return {127, exec + "not found in PATH"};
      return {is_absence(report.error) ? 127 : 126, exec + reason};
    case Step::set_up:
      break;
  }
  return {126, exec + "set up: " + reason};
}

// A user other than root must be able to reopen its /dev/stdout. Pipes and the terminal only:
// /dev/null is all's.
void give_stream(int fd, bool terminal, uid_t uid) {
  struct stat status{};
  if (fstat(fd, &status) != 0 || !(terminal || S_ISFIFO(status.st_mode))) return;
  [[maybe_unused]] const int result = fchown(fd, uid, static_cast<gid_t>(-1));
}

void give_streams(const Streams& streams, uid_t uid) {
  if (uid == 0) return;
  for (const int fd : {streams.in, streams.out, streams.err})
    give_stream(fd, streams.terminal, uid);
}

tl::unexpected<SpawnFailure> not_started(const Program& program, int error) {
  return tl::unexpected(describe(program, {.step = Step::set_up, .error = error}));
}

bool read_report(int fd, Report& report) {
  ssize_t count = -1;
  do {
    count = read(fd, &report, sizeof report);
  } while (count < 0 && errno == EINTR);
  return count == sizeof report;
}

}  // namespace

void Child::kill_group(int signal) const {
  kill(-pid, signal);
}

tl::expected<Child, SpawnFailure> spawn(const Program& program, int root, int cgroup,
                                        const Streams& streams) {
  auto user = find_user(root, program.user);
  if (!user) return tl::unexpected(SpawnFailure{126, user.error().message});
  give_streams(streams, user->uid);
  Plan plan = make_plan(program, std::move(*user), streams);
  int report_pipe[2];
  if (pipe2(report_pipe, O_CLOEXEC) != 0) return not_started(program, errno);
  const base::Fd report_in(report_pipe[0]);
  base::Fd report_out(report_pipe[1]);
  plan.report_fd = report_out.get();

  int pidfd = -1;
  const pid_t pid = clone_child(cgroup, pidfd);
  if (pid == 0) run_child(plan);
  if (pid < 0) return not_started(program, errno);
  Child child{pid, base::Fd(pidfd)};
  report_out.reset();
  if (Report report{}; read_report(report_in.get(), report)) {
    static_cast<void>(reap(child));
    return tl::unexpected(describe(program, report));
  }
  return child;
}

ExitStatus reap(const Child& child) {
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(child.pidfd.get()), &info, WEXITED) != 0) {
    if (errno != EINTR) return {};
  }
  if (info.si_code == CLD_EXITED) return {.code = info.si_status, .signal = 0};
  return {.code = 0, .signal = info.si_status};
}

}  // namespace microvm::agent
