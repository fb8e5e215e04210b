#include "agent/clone/freezer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "agent/base/file.hpp"
#include "agent/base/kernel_log.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kFreezeTimeoutMs = 5000;

// cgroup.events of the kernel: "populated 1\nfrozen 0\n".
bool reports_frozen(int events) {
  char text[256];
  const ssize_t count = pread(events, text, sizeof text, 0);
  return count > 0 && std::string_view(text, static_cast<size_t>(count)).find("frozen 1") !=
                          std::string_view::npos;
}

Outcome<base::Fd> make_leaf(int cgroup, const char* name) {
  if (mkdirat(cgroup, name, 0755) != 0 && errno != EEXIST) return fail_errno(name);
  base::Fd leaf(openat(cgroup, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!leaf) return fail_errno(name);
  return leaf;
}

}  // namespace

Outcome<void> Freezer::adopt_cgroup(base::Fd directory) {
  auto programs = make_leaf(directory.get(), "programs");
  if (!programs) return fail(programs.error());
  auto command = make_leaf(directory.get(), "command");
  if (!command) return fail(command.error());
  cgroup_ = std::move(directory);
  programs_ = std::move(*programs);
  command_ = std::move(*command);
  return {};
}

Outcome<void> Freezer::set_frozen(bool frozen) {
  return write_file_at(cgroup_.get(), "cgroup.freeze", frozen ? "1" : "0");
}

Outcome<void> Freezer::wait_for_kernel() {
  const base::Fd events(openat(cgroup_.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events) return fail_errno("cgroup.events");
  const auto deadline = Deadline::after_ms(kFreezeTimeoutMs);
  while (!reports_frozen(events.get())) {
    if (deadline.passed())
      return fail("programs did not freeze within " + std::to_string(kFreezeTimeoutMs) + " ms",
                  ETIMEDOUT);
    pollfd wait{.fd = events.get(), .events = POLLPRI, .revents = 0};
    poll(&wait, 1, deadline.poll_timeout_ms());
  }
  return {};
}

Outcome<uint64_t> Freezer::freeze() {
  const Lock lock(mutex_);
  if (state_ == State::frozen) return freezes_;
  if (state_ == State::closed) return fail("the machine ends", ESHUTDOWN);
  if (cgroup_) {
    auto frozen = set_frozen(true);
    if (frozen) frozen = wait_for_kernel();
    if (!frozen) {
      static_cast<void>(set_frozen(false));
      return fail(frozen.error());
    }
  }
  state_ = State::frozen;
  return ++freezes_;
}

void Freezer::thaw() {
  const Lock lock(mutex_);
  thaw_locked();
}

void Freezer::end(uint64_t freeze) {
  const Lock lock(mutex_);
  if (state_ == State::frozen && freezes_ == freeze) thaw_locked();
}

void Freezer::thaw_locked() {
  if (state_ == State::closed) return;
  if (cgroup_ && state_ == State::frozen) {
    if (const auto thawed = set_frozen(false); !thawed) log_error(thawed.error().message);
  }
  state_ = State::running;
  changed_.notify_all();
}

bool Freezer::frozen() {
  const Lock lock(mutex_);
  return state_ == State::frozen;
}

void Freezer::wait_until_running() {
  const Lock lock(mutex_);
  while (state_ != State::running) changed_.wait(mutex_);
}

void Freezer::close_for_good() {
  const Lock lock(mutex_);
  state_ = State::closed;
}

}  // namespace microvm::agent
