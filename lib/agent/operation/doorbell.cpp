#include "agent/operation/doorbell.hpp"

#include <sys/utsname.h>

#include <algorithm>

#include "agent/base/kernel_log.hpp"
#include "agent/base/time.hpp"
#include "agent/clone/identity.hpp"
#include "agent/link/vsock.hpp"
#include "agent/operation/freeze.hpp"

namespace microvm::agent {
namespace {

constexpr int kAttemptsAtOnce = 8;
constexpr int64_t kLongestPauseMs = 250;

bool send_hello(Guest& guest, Channel& channel) {
  utsname names{};
  uname(&names);
  microvm_agent_Hello hello = microvm_agent_Hello_init_zero;
  hello.agent_version = wire::kAgentVersion;
  // Only a snapshot is taken of a frozen guest.
  hello.restored = guest.freezer.frozen();
  copy_text(hello.kernel_release, names.release);
  return channel.send_message(FrameType::hello, microvm_agent_Hello_fields, &hello);
}

bool send_ready(Guest& guest, Channel& channel, microvm_agent_Ready ready) {
  ready.command_running = guest.command.running();
  return channel.send_message(FrameType::ready, microvm_agent_Ready_fields, &ready);
}

Outcome<void> take_identity(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_Identity identity = microvm_agent_Identity_init_zero;
  if (!decode_message(*body, microvm_agent_Identity_fields, &identity))
    return fail("the identity is not readable", EPROTO);
  microvm_agent_Ready ready = microvm_agent_Ready_init_zero;
  const int64_t begin_us = monotonic_us();
  apply_identity(guest.root_fd, identity);
  guest.network.apply(identity);
  const int64_t applied_us = monotonic_us();
  guest.freezer.thaw();
  ready.identity_us = static_cast<uint32_t>(applied_us - begin_us);
  ready.thaw_us = static_cast<uint32_t>(monotonic_us() - applied_us);
  if (!send_ready(guest, channel, ready)) return fail_errno("ready");
  return {};
}

// What the host asks for on the connection that is there: a suspend waits for it, and need not wait
// for an operation's first. `freeze`: of this connection, which ends with it.
Outcome<void> take_frame(Guest& guest, Channel& channel, uint64_t& freeze) {
  const auto header = channel.read_header();
  if (!header) return fail(header.error());
  switch (header->type) {
    case FrameType::identity:
      return take_identity(guest, channel, *header);
    case FrameType::freeze: {
      const auto frozen = freeze_programs(guest, channel, *header);
      if (frozen) freeze = *frozen;
      channel.send_outcome(frozen ? Outcome<void>() : fail(frozen.error()));
      return {};
    }
    case FrameType::thaw:
      channel.send_outcome(run_thaw(guest, channel, *header));
      return {};
    default:
      return fail(
          "a frame of type " + std::to_string(static_cast<int>(header->type)) + " on the doorbell",
          EPROTO);
  }
}

// The first attempts follow each other at once: a clone's host waits for this.
base::Fd reach_host(uint32_t port) {
  int64_t pause_ms = 1;
  for (int attempt = 1;; attempt++) {
    base::Fd stream = connect_host(port);
    if (stream) return stream;
    if (attempt < kAttemptsAtOnce) continue;
    sleep_ms(pause_ms);
    pause_ms = std::min(pause_ms * 2, kLongestPauseMs);
  }
}

}  // namespace

void serve_doorbell(Guest& guest, Channel channel) {
  if (!send_hello(guest, channel)) return;
  uint64_t freeze = 0;
  for (;;) {
    const auto taken = take_frame(guest, channel, freeze);
    if (taken) continue;
    if (taken.error().error == EPROTO || taken.error().error == EMSGSIZE)
      log_error("doorbell: " + taken.error().message);
    // In a clone the identity lets the programs run.
    if (freeze != 0 && !channel.was_reset()) guest.freezer.end(freeze);
    return;
  }
}

void keep_doorbell(Guest& guest) {
  for (;;) serve_doorbell(guest, Channel(reach_host(kDoorbellPort)));
}

}  // namespace microvm::agent
