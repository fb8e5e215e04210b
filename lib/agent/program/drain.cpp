#include "agent/program/drain.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/base/kernel_log.hpp"
#include "agent/base/thread.hpp"

namespace microvm::agent {
namespace {

constexpr size_t kSinkBytes = 16 * 1024;

// False: its last writer has closed it.
bool drop_some(int pipe) {
  std::array<std::byte, kSinkBytes> sink;
  const ssize_t count = read(pipe, sink.data(), sink.size());
  return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

// Nobody has it open for writing, and there is nothing in it.
bool is_over(int pipe) {
  pollfd state{.fd = pipe, .events = POLLIN, .revents = 0};
  return poll(&state, 1, 0) > 0 && (state.revents & POLLIN) == 0;
}

}  // namespace

Drain::~Drain() {
  const Lock lock(mutex_);
  ends_ = true;
  if (runs_) wake();
  while (runs_) changed_.wait(mutex_);
}

void Drain::adopt(base::Fd pipe) {
  if (!pipe || is_over(pipe.get())) return;
  const Lock lock(mutex_);
  if (!wake_) wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  new_.push_back(std::move(pipe));
  count_++;
  wake();
  if (runs_) return;
  runs_ = start_thread([this] { run(); }) == 0;
  if (runs_) return;
  log_error("no thread to read what ended programs left running");
  count_ -= new_.size();
  new_.clear();
}

size_t Drain::count() {
  const Lock lock(mutex_);
  return count_;
}

void Drain::run() {
  while (take_new()) read_all();
}

// False: there is nothing to read, and this thread is over.
bool Drain::take_new() {
  const Lock lock(mutex_);
  for (auto& pipe : new_) pipes_.push_back(std::move(pipe));
  new_.clear();
  if (pipes_.size() > kMaxPipes) {
    log_error("too many pipes of ended programs: the oldest is closed");
    pipes_.erase(pipes_.begin(), pipes_.end() - static_cast<ptrdiff_t>(kMaxPipes));
  }
  if (ends_) pipes_.clear();
  count_ = pipes_.size();
  if (!pipes_.empty()) return true;
  runs_ = false;
  changed_.notify_all();
  return false;
}

void Drain::read_all() {
  std::vector<pollfd> polls{{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  for (const auto& pipe : pipes_)
    polls.push_back({.fd = pipe.get(), .events = POLLIN, .revents = 0});
  poll(polls.data(), polls.size(), -1);
  uint64_t wakes = 0;
  if (polls[0].revents != 0) [[maybe_unused]]
    const ssize_t count = read(wake_.get(), &wakes, sizeof wakes);
  for (size_t i = 0; i < pipes_.size(); i++) {
    if (polls[i + 1].revents != 0 && !drop_some(pipes_[i].get())) pipes_[i].reset();
  }
  std::erase_if(pipes_, [](const base::Fd& pipe) { return !pipe; });
}

void Drain::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t count = write(wake_.get(), &one, sizeof one);
}

}  // namespace microvm::agent
