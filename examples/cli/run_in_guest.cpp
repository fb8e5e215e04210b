#include "run_in_guest.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "command.hpp"
#include "output.hpp"
#include "output_stream.hpp"
#include "signals.hpp"

namespace cli {
namespace {

using microvm::CallLimits;
using microvm::CancelToken;
using microvm::ErrorCode;
using microvm::Exec;
using microvm::ExecOutput;

// Copies our standard input into the program until either ends.
class StdinPump {
 public:
  explicit StdinPump(Exec& program) : program_(program), thread_([this] { pump(); }) {}
  ~StdinPump() {
    stop_.cancel();
    thread_.join();
  }
  StdinPump(const StdinPump&) = delete;
  StdinPump& operator=(const StdinPump&) = delete;

 private:
  void pump();

  Exec& program_;
  CancelToken stop_;
  std::thread thread_;
};

void StdinPump::pump() {
  std::array<std::byte, 32 * 1024> buffer{};
  for (;;) {
    std::array<pollfd, 2> fds = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{stop_.fd(), POLLIN, 0}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (stop_.cancelled()) return;
    if (fds[0].revents == 0) continue;
    const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const auto data = std::span(buffer).first(static_cast<size_t>(got));
    if (!program_.write_stdin(data, CallLimits{&stop_, {}})) return;
  }
  [[maybe_unused]] const auto closed = program_.close_stdin(CallLimits{&stop_, {}});
}

class Passage {
 public:
  Passage(microvm::Vm& vm, Exec& program, const ProgramUse& use)
      : vm_(vm), program_(program), use_(use) {}

  // `stop` ends it.
  int run(const CancelToken& stop);
  void pass_signal(int signal, const CancelToken& stop);

 private:
  bool show(const ExecOutput& output);
  void say_when_demoted();
  int give_up(const microvm::Error& error);
  int leave();

  microvm::Vm& vm_;
  Exec& program_;
  const ProgramUse& use_;
  OutputStream out_{STDOUT_FILENO};
  OutputStream err_{STDERR_FILENO};
  bool wrote_ = false;
};

int Passage::run(const CancelToken& stop) {
  const CallLimits limits{&stop, {}};
  wrote_ = use_.input && program_.writer();
  for (;;) {
    const auto output = program_.read(limits);
    if (!output) return give_up(output.error());
    if (!*output) break;
    say_when_demoted();
    // Ours, which may have no end, is killed when its handle is dropped.
    if (!show(**output)) return (out_.failed() ? out_ : err_).give_up(kMicrovmFailed);
  }
  const auto status = program_.wait(limits);
  return status ? exit_code_of(*status) : give_up(status.error());
}

bool Passage::show(const ExecOutput& output) {
  if (output.lost_bytes != 0) {
    print_error(fmt::format("{} bytes of its output were lost", output.lost_bytes));
  }
  return (output.stream == ExecOutput::Stream::out ? out_ : err_).write(output.data);
}

void Passage::say_when_demoted() {
  if (!wrote_ || program_.writer()) return;
  wrote_ = false;
  print_error("another client writes its standard input now, this one only reads");
}

// What was written to standard input may wait for a program that does not read it: a signal does
// not. It may have ended meanwhile: then there is nothing to pass it on to.
void Passage::pass_signal(int signal, const CancelToken& stop) {
  [[maybe_unused]] const auto sent =
      use_.input && !program_.id().empty()
          ? vm_.signal_exec(program_.id(), signal, CallLimits{&stop, {}})
          : program_.signal(signal);
}

int Passage::give_up(const microvm::Error& error) {
  if (error.code == ErrorCode::cancelled) return leave();
  if (error.code != ErrorCode::vm_suspended) return fail(error, kMicrovmFailed);
  print_error(
      fmt::format("{}; the program goes on when that does, come back with: "
                  "microvm exec attach {} {}",
                  error.message, use_.vm, program_.id()));
  return kMicrovmFailed;
}

// After a signal: the second of those that are passed on, or the first.
int Passage::leave() {
  if (!use_.pass_signals) {
    say(fmt::format("\ndetached; come back with: microvm exec attach {} {}\n", use_.vm,
                    program_.id()));
    return kOk;
  }
  if (!use_.is_ours) {
    constexpr std::chrono::seconds kPatience{2};
    [[maybe_unused]] const auto sent =
        vm_.signal_exec(program_.id(), SIGKILL, CallLimits{nullptr, kPatience});
  }
  return 128 + SignalRelay::signal_of_cut();
}

}  // namespace

int exit_code_of(const microvm::ExitStatus& status) {
  if (!status.message.empty()) print_error(status.message);
  if (status.timed_out) print_error("the time limit passed, the program was killed");
  return status.signal != 0 ? 128 + status.signal : status.code;
}

int code_after_failure() {
  const int signal = signal_of_cancel();
  return signal != 0 ? 128 + signal : kMicrovmFailed;
}

int run_program(microvm::Vm& vm, Exec& program, const ProgramUse& use, const CancelToken& cancel) {
  Passage passage(vm, program, use);
  std::optional<SignalRelay> relay;
  if (use.pass_signals) {
    relay.emplace([&](int signal, const CancelToken& cut) { passage.pass_signal(signal, cut); });
  }
  std::optional<StdinPump> pump;
  if (use.input) pump.emplace(program);
  return passage.run(relay ? relay->cut() : cancel);
}

int run_in_guest(microvm::Vm& vm, const microvm::ExecOptions& options, const ProgramUse& use,
                 const CancelToken& cancel) {
  auto program = vm.exec(options, CallLimits{&cancel, {}});
  if (!program) return fail(program.error(), code_after_failure());
  return run_program(vm, *program, use, cancel);
}

}  // namespace cli
