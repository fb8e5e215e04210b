#include "sys/process.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <thread>

#include "base/blocked_signals.hpp"
#include "base/close_on_exec.hpp"
#include "sys/file.hpp"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3
#endif

namespace microvm::sys {
namespace {

constexpr size_t kChildStackBytes = size_t{64} * 1024;

// Everything the child needs, made before it starts: it shares our memory and must not allocate.
struct ChildPlan {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  std::vector<int> sources;  // stdin, stdout, stderr (-1: /dev/null), then the passed fds
  int executable = -1;
  bool new_session = false;
  bool shares_fds = false;  // with us; at the end: the child found no way to have its own
  int error = 0;
};

std::vector<char*> to_pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

ChildPlan make_plan(int executable_fd, const SpawnOptions& options) {
  ChildPlan plan;
  plan.arguments = to_pointers(options.arguments);
  plan.environment = to_pointers(options.environment);
  plan.sources = {-1, options.standard_output, options.standard_error};
  plan.sources.insert(plan.sources.end(), options.fds.begin(), options.fds.end());
  plan.executable = executable_fd;
  plan.new_session = options.new_session;
  return plan;
}

// A table with what stands below the first fd that it does not need. A copy of ours takes longer
// than all else where we have thousands of files. Linux 5.9.
bool take_own_fds(ChildPlan& plan) {
  if (!plan.shares_fds) return true;
  constexpr unsigned kUnshare = 1u << 1;  // CLOSE_RANGE_UNSHARE
  int last = plan.executable;
  for (const int source : plan.sources) last = std::max(last, source);
  const auto first_unneeded = static_cast<unsigned>(last) + 1;
  plan.shares_fds = ::syscall(SYS_close_range, first_unneeded, ~0U, kUnshare) != 0;
  return !plan.shares_fds;
}

// The lowest number that is free says how many there are at least; what stands low is kept there
// (fd_places.hpp). With few the copy costs nothing, and a tool like valgrind, which knows the
// clone() of vfork() alone, can watch.
bool have_many_files(int fd) {
  constexpr int kMany = 256;
  const base::Fd free(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  return free.get() >= kMany;
}

// Sources may stand where targets go, so first everything moves above the targets.
bool place_fds(ChildPlan& plan) {
  const int count = static_cast<int>(plan.sources.size());
  plan.executable = ::fcntl(plan.executable, F_DUPFD_CLOEXEC, count);
  if (plan.executable < 0) return false;
  const int null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int& source : plan.sources) {
    source = ::fcntl(source >= 0 ? source : null_fd, F_DUPFD_CLOEXEC, count);
    if (source < 0) return false;
  }
  for (int target = 0; target < count; ++target) {
    if (::dup2(plan.sources[static_cast<size_t>(target)], target) < 0) return false;
  }
  return base::close_on_exec_from(count);
}

// An ignored signal stays ignored over execve, a caught one does not.
void reset_signals() {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Runs on its own stack in the parent's memory while the parent's thread waits (vfork): only
// system calls here.
int child_main(void* argument) {
  auto& plan = *static_cast<ChildPlan*>(argument);
  if (plan.new_session) ::setsid();
  const bool ready = take_own_fds(plan) && place_fds(plan) && ::chdir("/") == 0;
  if (ready) {
    reset_signals();
    ::syscall(SYS_execveat, plan.executable, "", plan.arguments.data(), plan.environment.data(),
              AT_EMPTY_PATH);
  }
  plan.error = errno;
  ::_exit(127);
}

// With all signals blocked: a handler of the embedder must not run in the child, on our memory.
pid_t clone_blocked(ChildPlan& plan, int& pidfd) {
  const auto stack = std::make_unique<std::byte[]>(kChildStackBytes);
  const base::BlockedSignals blocked;
  const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
  return ::clone(child_main, stack.get() + kChildStackBytes,
                 plan.shares_fds ? flags | CLONE_FILES : flags, &plan, &pidfd);
}

Process::Exit to_exit(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {0, info.si_status};
}

// vm.memfd_noexec=2 (Linux 6.3) refuses it.
Result<base::Fd> executable_in_memory(const std::string& name, std::span<const std::byte> bytes) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  base::Fd fd(::memfd_create(name.c_str(), kFlags | MFD_EXEC));
  if (!fd && errno == EINVAL) fd.reset(::memfd_create(name.c_str(), kFlags));
  if (!fd) return base::fail_errno("create memory file " + name);
  if (auto written = pwrite_full(fd.get(), bytes, 0); !written) return base::fail(written.error());
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return base::fail_errno("seal " + name);
  return fd;
}

// No file that somebody can write to is executed, so what we wrote is opened anew.
Result<base::Fd> executable_in_directory(int directory_fd, std::span<const std::byte> bytes) {
  constexpr unsigned kReadAndExecute = 0500;
  const auto written = open_unnamed(directory_fd);
  if (!written) return base::fail(written.error());
  if (auto ok = pwrite_full(written->get(), bytes, 0); !ok) return base::fail(ok.error());
  if (::fchmod(written->get(), kReadAndExecute) != 0) return base::fail_errno("allow execution");
  const std::string path = "/proc/self/fd/" + std::to_string(written->get());
  if (::access(path.c_str(), X_OK) != 0) return base::fail_errno("file system mounted noexec");
  return open_at(AT_FDCWD, path, O_RDONLY);
}

// plan.error: what the child met on its way to the program; then it is gone, and so it is when it
// did not come as far as files of its own.
Result<Process> start_child(ChildPlan& plan) {
  int pidfd = -1;
  const pid_t pid = clone_blocked(plan, pidfd);
  if (pid < 0) return base::fail_errno("start process");
  Process process(pid, base::Fd(pidfd));
  if (plan.error != 0 || plan.shares_fds) static_cast<void>(process.wait());
  return process;
}

Result<Process> try_to_spawn(int executable_fd, const SpawnOptions& options, int& error) {
  ChildPlan plan = make_plan(executable_fd, options);
  plan.shares_fds = have_many_files(executable_fd);
  auto process = start_child(plan);
  if (process && plan.shares_fds) {  // the kernel, or a filter, has not that call
    plan = make_plan(executable_fd, options);
    process = start_child(plan);
  }
  error = plan.error;
  return process;
}

}  // namespace

Result<base::Fd> executable_from_bytes(const std::string& name, std::span<const std::byte> bytes,
                                       const std::string& directory) {
  auto fd = executable_in_memory(name, bytes);
  if (fd || fd.error().code != ErrorCode::permission_denied || directory.empty()) return fd;
  const auto opened = open_at(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY);
  auto file = opened ? executable_in_directory(opened->get(), bytes) : base::fail(opened.error());
  if (file) return file;
  return base::fail(ErrorCode::permission_denied,
                    fd.error().message + ", and no program can be put into " + directory + " (" +
                        file.error().message +
                        "): set vm.memfd_noexec to 0 or 1, or use a directory on a file system "
                        "that is not mounted noexec");
}

// A child that another thread of the embedder makes has a copy of the fd that an executable was
// written with, until it becomes a program itself: ETXTBSY, for a moment.
Result<Process> spawn(int executable_fd, const SpawnOptions& options) {
  constexpr int kTries = 100;
  int error = 0;
  for (int left = kTries; left > 0; --left) {
    auto process = try_to_spawn(executable_fd, options, error);
    if (!process || error == 0) return process;
    if (error != ETXTBSY) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const std::string name = options.arguments.empty() ? "program" : options.arguments.front();
  return base::fail_errno("execute " + name, error);
}

Result<Process> Process::open(pid_t pid) {
  base::Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return base::fail_errno("open process " + std::to_string(pid));
  return Process(pid, std::move(pidfd));
}

Result<void> Process::kill(int signal) const {
  const long sent = ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
  if (sent != 0 && errno != ESRCH) {
    return base::fail_errno("signal process " + std::to_string(pid_));
  }
  return {};
}

Result<Process::Exit> Process::wait(const WaitLimits& limits) const {
  if (auto ended = wait_fd(pidfd_.get(), POLLIN, limits); !ended) return base::fail(ended.error());
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) {
    if (errno == EINTR) continue;
    if (errno == ECHILD) {
      return base::fail(ErrorCode::not_found,
                        "wait for process " + std::to_string(pid_) + ": not ours, or reaped");
    }
    return base::fail_errno("wait for process " + std::to_string(pid_));
  }
  return to_exit(info);
}

}  // namespace microvm::sys
