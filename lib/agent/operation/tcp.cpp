#include "agent/operation/tcp.hpp"

#include "agent/base/time.hpp"
#include "agent/link/relay.hpp"
#include "agent/operation/loopback.hpp"

namespace microvm::agent {
namespace {

constexpr int64_t kRetryMs = 20;

Outcome<void> wait_for_port(Guest& guest, Channel& channel,
                            const microvm_agent_WaitPortRequest& request) {
  const auto deadline = Deadline::after_ms(request.timeout_ms);
  const std::string name = "port " + std::to_string(request.port);
  for (;;) {
    const auto stream = connect_loopback(request.port);
    if (stream) return {};
    if (stream.error().error == EINVAL) return fail(stream.error());
    if (channel.host_gone()) return fail("the host closed the connection", ECONNRESET);
    if (deadline.passed())
      return fail(name + ": nothing listens after " + std::to_string(request.timeout_ms) + " ms",
                  ETIMEDOUT);
    if (guest.command.wait_ended(kRetryMs))
      return fail(name + ": " + guest.command.how_it_ended() + " before anything listened", ECHILD);
  }
}

}  // namespace

Outcome<void> run_tcp_connect(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_TcpConnectRequest request = microvm_agent_TcpConnectRequest_init_zero;
  if (!decode_message(*body, microvm_agent_TcpConnectRequest_fields, &request))
    return fail("the connect request is not readable", EPROTO);
  auto tcp = connect_loopback(request.port);
  if (!tcp) return fail(tcp.error());
  if (channel.send_empty(FrameType::ok))
    relay(channel.take(), std::move(*tcp), guest.activity.stream_bytes);
  return {};
}

Outcome<void> run_wait_port(Guest& guest, Channel& channel, const FrameHeader& header) {
  const auto body = channel.read_body(header);
  if (!body) return fail(body.error());
  microvm_agent_WaitPortRequest request = microvm_agent_WaitPortRequest_init_zero;
  if (!decode_message(*body, microvm_agent_WaitPortRequest_fields, &request))
    return fail("the wait request is not readable", EPROTO);
  return wait_for_port(guest, channel, request);
}

}  // namespace microvm::agent
