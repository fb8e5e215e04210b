#include "run_terminal.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <optional>
#include <thread>

#include "command.hpp"
#include "detach_keys.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "raw_terminal.hpp"
#include "run_in_guest.hpp"

namespace cli {
namespace {

using microvm::CallLimits;
using microvm::CancelToken;
using microvm::ErrorCode;
using microvm::Pty;

class Coupling {
 public:
  Coupling(Pty& pty, const TerminalUse& use)
      : pty_(pty), use_(use), keys_(use.detach_keys), stop_(*use.cancel) {}

  int run();

 private:
  int conclude(int code) const;
  int show_output();
  void say_when_demoted();
  void pump_input(RawTerminal& terminal);
  bool pass_keys();
  int say_detached() const;

  Pty& pty_;
  const TerminalUse& use_;
  DetachKeys keys_;
  OutputStream out_{STDOUT_FILENO};
  CancelToken stop_;  // shared with the command: signals cancel it, with a raw terminal or without
  std::atomic<bool> detached_{false};
  bool wrote_ = false;
  std::optional<microvm::Error> failure_;
};

int Coupling::run() {
  int code = 0;
  if (use_.input) {
    RawTerminal terminal(stop_);
    std::thread input([&] { pump_input(terminal); });
    code = show_output();
    stop_.cancel();
    input.join();
  } else {
    code = show_output();
  }
  return detached_ ? say_detached() : conclude(code);
}

// After a signal, or without anybody who sees what it puts out, the program goes on as after
// detaching.
int Coupling::conclude(int code) const {
  const bool cancelled = failure_ && failure_->code == ErrorCode::cancelled;
  const bool left = (cancelled || out_.failed()) && !use_.detach_keys.empty();
  if (left) say_detached();
  if (out_.failed()) return out_.give_up(kMicrovmFailed);
  if (left) return kMicrovmFailed;
  if (failure_ && failure_->code == ErrorCode::vm_suspended) {
    print_error(
        fmt::format("{}; the program goes on when that does, come back with: "
                    "microvm shell --session {} {}",
                    failure_->message, pty_.id(), use_.vm));
    return kMicrovmFailed;
  }
  return failure_ ? fail(*failure_, kMicrovmFailed) : code;
}

// Messages wait until our terminal is as it was.
int Coupling::show_output() {
  wrote_ = pty_.writer();
  for (;;) {
    const auto output = pty_.read(CallLimits{&stop_, {}});
    if (!output) failure_ = output.error();
    if (!output || !*output) break;
    say_when_demoted();
    if (!out_.write((*output)->data)) break;
  }
  if (failure_ || out_.failed()) return kMicrovmFailed;
  const auto status = pty_.wait(CallLimits{&stop_, {}});
  if (!status) failure_ = status.error();
  return status ? exit_code_of(*status) : kMicrovmFailed;
}

void Coupling::say_when_demoted() {
  if (!wrote_ || pty_.writer()) return;
  wrote_ = false;
  say("\r\nmicrovm: another client took the keyboard, this one only watches\r\n");
}

void Coupling::pump_input(RawTerminal& terminal) {
  [[maybe_unused]] auto resized = pty_.resize(terminal_size());
  while (!stop_.cancelled()) {
    std::array<pollfd, 3> fds = {pollfd{STDIN_FILENO, POLLIN, 0},
                                 pollfd{terminal.changes(), POLLIN, 0},
                                 pollfd{stop_.fd(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) {
      terminal.refresh();
      resized = pty_.resize(terminal_size());
    }
    if (fds[0].revents == 0 || pass_keys()) continue;
    detached_ = true;
    stop_.cancel();
  }
}

// False: the user leaves.
bool Coupling::pass_keys() {
  std::array<char, 4096> typed{};
  const auto got = ::read(STDIN_FILENO, typed.data(), typed.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;  // our terminal is gone
  const std::string keys = keys_.filter({typed.data(), static_cast<size_t>(got)});
  // A client that only watches is refused, and a connection that broke is seen by the reader.
  [[maybe_unused]] const auto sent =
      pty_.write(std::as_bytes(std::span(keys)), CallLimits{&stop_, {}});
  return !keys_.complete();
}

int Coupling::say_detached() const {
  say(fmt::format("\ndetached; come back with: microvm shell --session {} {}\n", pty_.id(),
                  use_.vm));
  return kOk;
}

}  // namespace

int run_in_terminal(Pty& pty, const TerminalUse& use) {
  return Coupling(pty, use).run();
}

microvm::PtyOptions terminal_options(const microvm::ExecOptions& program) {
  microvm::PtyOptions options;
  options.argv = program.argv;
  options.env = program.env;
  options.cwd = program.cwd;
  options.user = program.user;
  options.size = terminal_size();
  if (const char* term = std::getenv("TERM"); term != nullptr && *term != '\0') options.term = term;
  return options;
}

int open_terminal(microvm::Vm& vm, const microvm::ExecOptions& program, const TerminalUse& use) {
  auto pty = vm.pty(terminal_options(program), CallLimits{use.cancel, {}});
  if (!pty) return fail(pty.error(), kMicrovmFailed);
  return run_in_terminal(*pty, use);
}

bool can_lend_terminal(const std::string& command, bool input) {
  if (!input || have_terminal()) return true;
  print_error(command + ": standard input is not a terminal (to pipe into a program: exec -i)");
  return false;
}

}  // namespace cli
