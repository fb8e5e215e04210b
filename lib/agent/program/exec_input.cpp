#include "agent/program/exec_input.hpp"

#include <unistd.h>

#include <csignal>

#include "agent/link/channel.hpp"

namespace microvm::agent {

ExecInput::ExecInput(const Child& child, base::Fd program_stdin)
    : child_(&child), stdin_(std::move(program_stdin)), frames_("exec", wire::kDataChunk) {}

bool ExecInput::expects(FrameType type) const {
  return type == FrameType::signal || type == FrameType::stdin_end;
}

Outcome<void> ExecInput::take_control(FrameType type, std::span<const std::byte> body) {
  if (type == FrameType::stdin_end) {
    stdin_.reset();
    return {};
  }
  const auto signal = read_signal(body);
  if (!signal) return fail(signal.error());
  if (child_ != nullptr) child_->kill_group(*signal);
  return {};
}

size_t ExecInput::take_data(std::span<const std::byte> bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && stdin_) {
    const ssize_t count = write(stdin_.get(), bytes.data() + taken, bytes.size() - taken);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return taken;
    if (count < 0) {  // the program closed its stdin: the rest goes nowhere
      stdin_.reset();
      break;
    }
    taken += static_cast<size_t>(count);
  }
  return bytes.size();
}

Outcome<int> read_signal(std::span<const std::byte> body) {
  microvm_agent_SignalRequest request = microvm_agent_SignalRequest_init_zero;
  if (!decode_message(body, microvm_agent_SignalRequest_fields, &request) || request.signal == 0 ||
      request.signal > static_cast<uint32_t>(SIGRTMAX))
    return fail("no such signal: " + std::to_string(request.signal), EINVAL);
  return static_cast<int>(request.signal);
}

}  // namespace microvm::agent
