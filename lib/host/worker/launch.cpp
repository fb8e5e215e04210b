#include "host/worker/launch.hpp"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "host/base/printable.hpp"
#include "host/saved/how_it_ended.hpp"
#include "host/worker/control_channel.hpp"
#include "host/worker/read_stream.hpp"
#include "wire/log_size.hpp"

namespace microvm::host {
namespace {

constexpr std::string_view kStarting = "start the microvm";
constexpr uint32_t kStartId = 2;
constexpr uint32_t kLogsId = 3;
constexpr uint32_t kInfoId = wire::kGreetingId - 1;  // a client of the Vm does not count so far
constexpr std::chrono::seconds kLastWordsLimit{2};
constexpr size_t kLastWordsLines = 3;

Error start_error(const wire::ExitEvent& exit) {
  // Before the agent is ready every end is the guest's failure, a planned power-off too.
  return {ErrorCode::guest_failed, std::string(kStarting) + ": " + describe_exit(exit)};
}

// The worker's clock is ours.
void mark_steps(StartTrace& trace, const wire::StartSteps& steps) {
  const auto mark = [&](uint64_t step_ns, const char* name) {
    const std::chrono::nanoseconds when(steps.received_at_ns + step_ns);
    if (steps.received_at_ns != 0) trace.mark(name, StartTrace::Time(when));
  };
  mark(0, "worker: the request received");
  const std::pair<uint64_t, const char*> others[] = {
      {steps.devices, "worker: devices attached"},
      {steps.state, "worker: state read and checked"},
      {steps.memory, "worker: memory mapped"},
      {steps.applied, "worker: state given to vcpus and devices"},
      {steps.pages, "worker: working set brought in"},
      {steps.answered, "worker: answered"},
      {steps.entered, "worker: KVM_RUN"},
      {steps.rang, "worker: the agent rang"}};
  for (const auto& [step_ns, name] : others) {
    if (step_ns != 0) mark(step_ns, name);
  }
}

// What the guest says of itself is for a reader, and no point in our time.
void mark_handshake(StartTrace& trace, const Doorbell& doorbell) {
  const auto ms = [](std::chrono::microseconds time) {
    return std::to_string(time.count() / 1000) + " ms";
  };
  trace.mark("handshake: hello, the identity sent before", doorbell.greeted_at());
  trace.mark("ready: identity applied in " + ms(doorbell.identity_took()) + ", thawed in " +
             ms(doorbell.thaw_took()));
}

// One launch in progress.
class Launch {
 public:
  Launch(Worker& worker, const Limits& limits, const Stopwatch& clock, LaunchTimes& times,
         ControlClient::Ahead ahead)
      : worker_(worker), limits_(limits), clock_(clock), times_(times), ahead_(ahead) {}

  Result<HeldDoorbell> wait_ready(Identity identity);
  Error explain(Error error);

 private:
  Result<void> greet(Doorbell& doorbell);
  Result<void> ask_ahead();
  // For a trace; a worker of before tells nothing.
  Result<void> mark_worker_steps();
  Result<Received> receive();
  Result<base::Fd> wait_agent();
  Result<void> on_message(Received received);
  std::optional<wire::ExitEvent> wait_exit(const Limits& limits);
  std::string kernel_words();

  Worker& worker_;
  const Limits& limits_;
  const Stopwatch& clock_;
  LaunchTimes& times_;
  const ControlClient::Ahead ahead_;
  bool started_ = false;
  bool marked_ = false;
  bool asked_ = false;
  base::Fd agent_;
};

Result<void> Launch::on_message(Received received) {
  auto& message = received.envelope.message;
  if (received.envelope.request_id == kAheadId) {
    asked_ = false;  // of an agent that has hung up: the one that rings now is asked again
    return {};
  }
  if (received.out_of_fds) return base::fail(out_of_fds_error(kStarting));
  if (const auto* error = std::get_if<wire::ErrorReply>(&message)) {
    return base::fail(worker_error(*error));
  }
  if (const auto* exit = std::get_if<wire::ExitEvent>(&message)) {
    return base::fail(start_error(*exit));
  }
  if (auto* failed = std::get_if<wire::DiskErrorEvent>(&message)) {
    Error error = worker_error({failed->code, std::move(failed->message)});
    return base::fail(error.code, std::string(kStarting) + ": " + error.message);
  }
  if (std::holds_alternative<wire::OkReply>(message) && received.envelope.request_id == kStartId) {
    clock_.mark("the worker's answer");
    times_.restore_us = clock_.us();
    started_ = true;
    return {};
  }
  if (std::holds_alternative<wire::AgentEvent>(message) && received.fds.size() == 1) {
    clock_.mark("doorbell: the agent's stream");
    times_.agent_us = clock_.us();
    agent_ = std::move(received.fds[0]);
    return {};
  }
  if (std::holds_alternative<wire::NetworkEvent>(message)) return {};  // the guest lives without
  return base::fail(ErrorCode::protocol,
                    std::string(kStarting) + ": unexpected message of the worker");
}

Result<Received> Launch::receive() {
  auto received = receive_control(worker_.control(), limits_, kStarting);
  if (received && received->state == Received::State::end) {
    return base::fail(ErrorCode::vm_gone, std::string(kStarting) + ": the worker ended");
  }
  return received;
}

Result<base::Fd> Launch::wait_agent() {
  while (!started_ || !agent_) {
    auto received = receive();
    if (!received) return base::fail(received.error());
    if (auto ok = on_message(std::move(*received)); !ok) return base::fail(ok.error());
  }
  return std::move(agent_);
}

// Who it is comes first. While the guest is busy with that, what is needed next gets on its way;
// and for a trace the worker is asked before that, so that answers come in this order.
Result<void> Launch::greet(Doorbell& doorbell) {
  if (const auto told = doorbell.advance(); !told) return base::fail(told.error());
  if (auto ok = mark_worker_steps(); !ok) return ok;
  if (auto ok = ask_ahead(); !ok) return ok;
  return doorbell.wait_ready(limits_);
}

Result<void> Launch::ask_ahead() {
  if (ahead_ == ControlClient::Ahead::none || std::exchange(asked_, true)) return {};
  return send_control(worker_.control(),
                      {kAheadId, wire::ConnectRequest{wire::kAgentOperationPort}}, {}, limits_,
                      kStarting);
}

// A guest's kernel gives up a connection that is not there in 2 s, and on a busy host it may not
// be: then the agent hangs up and rings again. One that does not is the end of the time, or of the
// guest.
Result<HeldDoorbell> Launch::wait_ready(Identity identity) {
  for (;;) {
    auto agent = wait_agent();
    if (!agent) return base::fail(agent.error());
    Doorbell doorbell(std::move(*agent), identity);
    const auto ready = greet(doorbell);
    if (ready) {
      if (clock_.trace()) mark_handshake(*clock_.trace(), doorbell);
      return doorbell.take();
    }
    if (ready.error().code != ErrorCode::vm_gone) return base::fail(ready.error());
    // The one before may have been read.
    if (auto fresh = make_identity(identity.hostname)) identity.seed = fresh->seed;
  }
}

std::optional<wire::ExitEvent> Launch::wait_exit(const Limits& limits) {
  for (;;) {
    const auto received = receive_control(worker_.control(), limits, kStarting);
    if (!received || received->state == Received::State::end) return std::nullopt;
    if (const auto* exit = std::get_if<wire::ExitEvent>(&received->envelope.message)) return *exit;
  }
}

std::string Launch::kernel_words() {
  const Limits limits({}, kLastWordsLimit);
  const wire::LogsRequest request{wire::LogsRequest::Which::kernel, false};
  if (!send_control(worker_.control(), {kLogsId, request}, {}, limits, kStarting)) return {};
  for (;;) {
    const auto received = receive_control(worker_.control(), limits, kStarting);
    if (!received || received->state == Received::State::end) return {};
    if (received->envelope.request_id != kLogsId) continue;
    if (received->fds.size() != 1) return {};
    const auto log = read_stream(received->fds[0].get(), wire::kMaxLogBytes, limits, kStarting);
    return log ? printable(last_lines(*log, kLastWordsLines)) : std::string();
  }
}

Result<void> Launch::mark_worker_steps() {
  if (!clock_.trace() || std::exchange(marked_, true)) return {};
  auto sent =
      send_control(worker_.control(), {kInfoId, wire::InfoRequest{}}, {}, limits_, kStarting);
  if (!sent) return sent;
  for (;;) {
    auto received = receive();
    if (!received) return base::fail(received.error());
    if (received->envelope.request_id == kInfoId) {
      const auto* info = std::get_if<wire::InfoReply>(&received->envelope.message);
      if (info != nullptr) mark_steps(*clock_.trace(), info->steps);
      return {};
    }
    if (auto ok = on_message(std::move(*received)); !ok) return ok;
  }
}

// Finds what stands behind a broken stream or a time that ran out.
Error Launch::explain(Error error) {
  if (error.code == ErrorCode::vm_gone) {
    if (const auto exit = wait_exit(Limits({}, kLastWordsLimit))) return start_error(*exit);
    if (const std::string how = worker_.end(std::chrono::milliseconds(100)); !how.empty()) {
      return {ErrorCode::vm_gone, std::string(kStarting) + ": " + how};
    }
  }
  if (error.code == ErrorCode::deadline_exceeded) {
    const std::string words = kernel_words();
    return {ErrorCode::guest_failed,
            std::string(kStarting) +
                ": its agent was not ready in time; the kernel's last words: " +
                (words.empty() ? "none" : words)};
  }
  return error;
}

}  // namespace

Result<HeldDoorbell> launch_guest(Worker& worker, wire::Message request, std::span<const int> fds,
                                  Identity identity, const Limits& limits, const Stopwatch& clock,
                                  LaunchTimes& times, ControlClient::Ahead ahead) {
  Launch launch(worker, limits, clock, times, ahead);
  auto sent =
      send_control(worker.control(), {kStartId, std::move(request)}, fds, limits, kStarting);
  if (!sent) return base::fail(launch.explain(sent.error()));
  clock.mark("the start requested of the worker");
  auto agent = launch.wait_ready(std::move(identity));
  if (!agent) return base::fail(launch.explain(agent.error()));
  times.ready_us = clock.us();
  return agent;
}

std::string last_lines(std::string_view text, size_t lines) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  size_t begin = text.size();
  while (lines > 0 && begin != std::string_view::npos && begin > 0) {
    begin = text.rfind('\n', begin - 1);
    --lines;
  }
  return std::string(begin == std::string_view::npos || begin == 0 ? text : text.substr(begin + 1));
}

}  // namespace microvm::host
