#include "host/session/doorbell.hpp"

#include <poll.h>

#include <chrono>

#include "host/session/agent_messages.hpp"

namespace microvm::host {

using wire::FrameType;

Doorbell::Doorbell(base::Fd stream, Identity identity)
    : stream_(std::move(stream)), identity_(std::move(identity)) {}

Result<bool> Doorbell::advance() {
  if (!told_) {
    if (auto sent = send_identity(); !sent) return base::fail(sent.error());
    told_ = true;
  }
  while (!ready_) {
    const auto state = reader_.advance(stream_.get());
    if (!state) return base::fail(state.error());
    if (*state == FrameReader::State::would_block) return false;
    if (*state == FrameReader::State::end) {
      return base::fail(ErrorCode::vm_gone, "the agent hung up before it was ready");
    }
    if (auto done = on_frame(reader_.take()); !done) return base::fail(done.error());
  }
  return true;
}

Result<void> Doorbell::wait_ready(const Limits& limits) {
  for (;;) {
    const auto ready = advance();
    if (!ready) return base::fail(ready.error());
    if (*ready) return {};
    if (auto more = limits.wait(stream_.get(), POLLIN, "wait for the agent"); !more) return more;
  }
}

Result<void> Doorbell::on_frame(const Frame& frame) {
  if (!greeted_ && frame.type == FrameType::hello) return on_hello(frame);
  if (greeted_ && frame.type == FrameType::ready) {
    const auto ready = decode_message<microvm_agent_Ready>(frame.body);
    if (!ready) return base::fail(ready.error());
    command_running_ = ready->command_running;
    identity_took_ = std::chrono::microseconds(ready->identity_us);
    thaw_took_ = std::chrono::microseconds(ready->thaw_us);
    ready_ = true;
    return {};
  }
  return base::fail(ErrorCode::protocol, "the agent sent frame " +
                                             std::to_string(static_cast<unsigned>(frame.type)) +
                                             " during its greeting");
}

Result<void> Doorbell::on_hello(const Frame& frame) {
  const auto hello = decode_message<microvm_agent_Hello>(frame.body);
  if (!hello) return base::fail(hello.error());
  restored_ = hello->restored;
  agent_version_ = hello->agent_version;
  greeted_at_ = std::chrono::steady_clock::now();
  greeted_ = true;
  return {};
}

Result<void> Doorbell::send_identity() {
  microvm_agent_Identity message{};
  if (auto ok = set_text(message.hostname, identity_.hostname, "hostname"); !ok) return ok;
  if (auto ok = set_text(message.machine_id, identity_.machine_id, "machine id"); !ok) return ok;
  if (auto ok = set_text(message.boot_id, identity_.boot_id, "boot id"); !ok) return ok;
  if (auto ok = set_network(message, identity_.network); !ok) return ok;
  set_seed_and_clock(message, identity_.seed);
  // Some hundred bytes into an empty socket: this does not wait.
  const Limits limits({}, std::chrono::seconds(1));
  return writer_.write(stream_.get(), FrameType::identity, encode_message(message), limits,
                       "tell the agent who it is");
}

}  // namespace microvm::host
