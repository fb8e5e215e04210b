#include "agent/operation/start.hpp"

#include "agent/operation/guest.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kWitnessTimeoutMs = 1000;
constexpr int64_t kLogTimeoutMs = 2000;

void report_end(Channel& channel, const ExitStatus& status) {
  microvm_agent_Exited message = microvm_agent_Exited_init_zero;
  message.code = status.code;
  message.signal = static_cast<uint32_t>(status.signal);
  channel.send_message(FrameType::exited, microvm_agent_Exited_fields, &message);
}

}  // namespace

void run_start(Guest& guest, Channel& channel, const FrameHeader& request) {
  const auto program = read_program(channel, request);
  if (!program) {
    channel.send_failure(program.error());
    return;
  }
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return;
  const CommandGround ground{guest.root_fd, guest.freezer.command(), guest.app_log};
  const auto started = [](Channel& to, const Outcome<void>& outcome) { to.send_outcome(outcome); };
  if (!guest.command.run(ground, *program, started, channel)) return;
  // A snapshot of a machine that is about to end would be of no use, so the end waits.
  guest.freezer.wait_until_running();
  report_end(channel, guest.command.status());
  guest.app_log.write(guest.command.how_it_ended() + "\n");
  guest.app_log.finish(kLogTimeoutMs);
  channel.close_gently();
  guest.command.wait_for_witnesses(kWitnessTimeoutMs);
  guest.end_machine(guest);
}

}  // namespace microvm::agent
