#include "host/session/started_command.hpp"

#include "host/session/agent_messages.hpp"

namespace microvm::host {
namespace {

// Each look is an answer of the guest: it has run meanwhile, and so could have its programs.
constexpr std::chrono::milliseconds kLookEvery{100};
constexpr int kQuietLooks = 10;
constexpr int kMaxLooks = 100;
// Of CPU time between two looks; a program that waits wakes up now and then.
constexpr uint64_t kQuietUs = 2000;
// For the guest to hand over the end of the log; it takes two seconds itself.
constexpr std::chrono::seconds kLastWords{5};

}  // namespace

Result<StartedCommand> StartedCommand::start(std::shared_ptr<AgentLink> link,
                                             const AgentCommand& command, const Limits& limits) {
  const auto frames = CommandFrames::make(command, wire::kMaxFrameBody);
  if (!frames) return base::fail(frames.error());
  auto operation = Operation::open(std::move(link), "start the command", limits);
  if (!operation) return base::fail(operation.error());
  auto sent = send_command(*operation, wire::FrameType::start, *frames, limits);
  if (sent) sent = operation->expect_ok(limits);
  if (!sent) return base::fail(sent.error());
  return StartedCommand(std::move(*operation));
}

Result<std::optional<ExitStatus>> StartedCommand::wait_ended(std::chrono::milliseconds time,
                                                             const Limits& limits) {
  if (ended_) return ended_;
  const auto frame = operation_.receive(limits.within(time));
  if (!frame) {
    if (frame.error().code != ErrorCode::deadline_exceeded) return base::fail(frame.error());
    if (auto allowed = limits.check("wait for the command"); !allowed)
      return base::fail(allowed.error());
    return std::nullopt;
  }
  if (frame->type != wire::FrameType::exited) return operation_.unexpected(*frame);
  const auto exited = decode_message<microvm_agent_Exited>(frame->body);
  if (!exited) return base::fail(exited.error());
  ended_ = ExitStatus{exited->code, static_cast<int>(exited->signal), false, {}};
  // The stream's end: what the command has printed is in the app log now.
  static_cast<void>(operation_.receive(limits.within(kLastWords)));
  return ended_;
}

Result<std::optional<ExitStatus>> StartedCommand::settle(AgentClient& agent, const Limits& limits) {
  uint64_t cpu_us = 0;
  int quiet = 0;
  for (int look = 0; look < kMaxLooks && quiet < kQuietLooks; ++look) {
    auto ended = wait_ended(kLookEvery, limits);
    if (!ended || *ended) return ended;
    const auto activity = agent.activity(limits);
    // It may have ended just now, and the guest with it.
    if (!activity) return wait_ended(kLookEvery, limits);
    quiet = activity->cpu_us < cpu_us + kQuietUs ? quiet + 1 : 0;
    cpu_us = activity->cpu_us;
  }
  return std::nullopt;
}

}  // namespace microvm::host
