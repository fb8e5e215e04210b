#include "run_in_guest.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
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

// A second signal cuts it short: the program is killed when its handle is dropped.
int give_up(const microvm::Error& error) {
  const int signal = SignalRelay::signal_of_cut();
  if (signal != 0 && error.code == ErrorCode::cancelled) return 128 + signal;
  return fail(error, kMicrovmFailed);
}

int pass_through(Exec& program, const CallLimits& limits) {
  OutputStream out(STDOUT_FILENO);
  OutputStream err(STDERR_FILENO);
  for (;;) {
    const auto output = program.read(limits);
    if (!output) return give_up(output.error());
    if (!*output) break;
    OutputStream& ours = (*output)->stream == ExecOutput::Stream::out ? out : err;
    // The program, which may have no end, is killed when its handle is dropped.
    if (!ours.write((*output)->data)) return ours.give_up(kMicrovmFailed);
  }
  const auto status = program.wait(limits);
  return status ? exit_code_of(*status) : give_up(status.error());
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

int run_in_guest(microvm::Vm& vm, const microvm::ExecOptions& options, const CallLimits& limits) {
  auto program = vm.exec(options, limits);
  if (!program) return fail(program.error(), code_after_failure());
  // It may have ended meanwhile: then there is nothing to pass a signal on to.
  SignalRelay relay([&](int signal) { [[maybe_unused]] const auto sent = program->kill(signal); });
  std::optional<StdinPump> pump;
  if (options.stdin_open) pump.emplace(*program);
  return pass_through(*program, CallLimits{&relay.cut(), {}});
}

}  // namespace cli
