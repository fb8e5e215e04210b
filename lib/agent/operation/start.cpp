#include "agent/operation/start.hpp"

#include "agent/operation/guest.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kWitnessTimeoutMs = 1000;
constexpr int64_t kLogTimeoutMs = 2000;

void answer_and_hang_up(Channel& channel, const Outcome<void>& outcome) {
  if (outcome)
    channel.send_empty(FrameType::ok);
  else
    channel.send_failure(outcome.error());
  channel.take().reset();
}

}  // namespace

void run_start(Guest& guest, Channel& channel, const FrameHeader& request) {
  const auto program = read_program(channel, request);
  if (!program) return answer_and_hang_up(channel, fail(program.error()));
  guest.freezer.wait_until_running();
  if (channel.host_gone()) return;
  const CommandGround ground{guest.root_fd, guest.freezer.cgroup(), guest.app_log};
  if (!guest.command.run(ground, *program, answer_and_hang_up, channel)) return;
  // A snapshot of a machine that is about to end would be of no use, so the end waits.
  guest.freezer.wait_until_running();
  guest.app_log.write(guest.command.how_it_ended() + "\n");
  guest.app_log.finish(kLogTimeoutMs);
  guest.command.wait_for_witnesses(kWitnessTimeoutMs);
  guest.end_machine(guest);
}

}  // namespace microvm::agent
