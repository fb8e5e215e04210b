#include "agent/program/command.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "agent/base/kernel_log.hpp"
#include "agent/program/pipes.hpp"

namespace microvm::agent {
namespace {

std::string describe_end(const ExitStatus& status) {
  if (status.signal == 0) return "exited with code " + std::to_string(status.code);
  const char* name = sigabbrev_np(status.signal);
  const std::string number = std::to_string(status.signal);
  return "was killed by signal " + number +
         (name != nullptr ? " (SIG" + std::string(name) + ")" : "");
}

// Up to `limit` bytes from the pipe into the log: how many, 0 at its end, -1 when there are none
// now.
ssize_t copy_to_log(int output, AppLog& log, size_t limit) {
  std::array<std::byte, 16 * 1024> chunk{};
  const ssize_t count = read(output, chunk.data(), std::min(limit, chunk.size()));
  if (count > 0) log.write(std::span(chunk).first(static_cast<size_t>(count)));
  return count;
}

}  // namespace

bool Command::claim() {
  const Lock lock(mutex_);
  if (state_ != State::none) return false;
  state_ = State::starting;
  return true;
}

Outcome<void> Command::launch(const CommandGround& ground, const Program& program,
                              base::Fd& output) {
  auto pipe = make_pipe();
  if (!pipe) return fail(pipe.error());
  auto null = open_null();
  if (!null) return fail(null.error());
  const int out = pipe->write_end.get();
  auto child = spawn(program, ground.root_fd, ground.cgroup, {null->get(), out, out});
  const Lock lock(mutex_);
  state_ = child ? State::running : State::none;
  if (!child) return fail(child.error().message, child.error().code == 127 ? ENOENT : EACCES);
  child_ = std::move(*child);
  output = std::move(pipe->read_end);
  set_nonblocking(output.get());
  return {};
}

void Command::pump(AppLog& log, int output) {
  std::array<pollfd, 2> polls{{{.fd = output, .events = POLLIN, .revents = 0},
                               {.fd = child_->pidfd.get(), .events = POLLIN, .revents = 0}}};
  while (polls[1].revents == 0) {
    poll(polls.data(), polls.size(), -1);
    if (polls[0].revents != 0 && copy_to_log(output, log, SIZE_MAX) == 0) polls[0].fd = -1;
  }
  // What it left in the pipe; not what its children, which may live on, still write.
  size_t left = bytes_waiting(output);
  while (left > 0) {
    const ssize_t count = copy_to_log(output, log, left);
    if (count <= 0) break;
    left -= static_cast<size_t>(count);
  }
}

void Command::finish() {
  const Lock lock(mutex_);
  status_ = reap(*child_);
  end_text_ = "the command " + describe_end(status_);
  state_ = State::ended;
  changed_.notify_all();
}

bool Command::run(const CommandGround& ground, const Program& program,
                  void (*started)(Channel&, const Outcome<void>&), Channel& channel) {
  if (!claim()) {
    started(channel, fail("the image's command was started before", EBUSY));
    return false;
  }
  base::Fd output;
  const auto launched = launch(ground, program, output);
  started(channel, launched);
  if (!launched) return false;
  pump(ground.log, output.get());
  finish();
  log_info(how_it_ended());
  return true;
}

bool Command::running() {
  const Lock lock(mutex_);
  return state_ == State::running;
}

std::string Command::how_it_ended() {
  const Lock lock(mutex_);
  return end_text_;
}

ExitStatus Command::status() {
  const Lock lock(mutex_);
  return status_;
}

bool Command::wait_ended(int64_t timeout_ms) {
  const auto deadline = Deadline::after_ms(timeout_ms);
  const Lock lock(mutex_);
  while (state_ != State::ended && !deadline.passed()) changed_.wait_until(mutex_, deadline);
  return state_ == State::ended;
}

void Command::signal(int signal) {
  const Lock lock(mutex_);
  if (state_ == State::running) child_->kill_group(signal);
}

Command::Witness::Witness(Command& command) : command_(command) {
  const Lock lock(command_.mutex_);
  command_.witnesses_++;
}

Command::Witness::~Witness() {
  const Lock lock(command_.mutex_);
  command_.witnesses_--;
  command_.changed_.notify_all();
}

void Command::wait_for_witnesses(int64_t timeout_ms) {
  const auto deadline = Deadline::after_ms(timeout_ms);
  const Lock lock(mutex_);
  while (witnesses_ > 0 && !deadline.passed()) changed_.wait_until(mutex_, deadline);
}

}  // namespace microvm::agent
