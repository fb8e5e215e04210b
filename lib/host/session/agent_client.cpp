#include "host/session/agent_client.hpp"

#include <fcntl.h>

#include "host/session/agent_messages.hpp"
#include "host/session/identity.hpp"
#include "host/session/operation.hpp"

namespace microvm::host {
namespace {

using wire::FrameType;

// One request frame, one answer.
Result<void> ask(std::shared_ptr<AgentLink> link, std::string what, FrameType type,
                 wire::ByteView body, const Limits& limits) {
  auto operation = Operation::open(std::move(link), std::move(what), limits);
  if (!operation) return base::fail(operation.error());
  if (auto sent = operation->send(type, body, limits); !sent) return sent;
  return operation->expect_ok(limits);
}

// The worker may hand out its stream ends non-blocking; a caller of connect() expects a plain one.
Result<base::Fd> as_blocking(base::Fd stream) {
  const int flags = ::fcntl(stream.get(), F_GETFL);
  if (flags < 0 || ::fcntl(stream.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return base::fail_errno("connect: fcntl");
  }
  return stream;
}

}  // namespace

Result<base::Fd> AgentClient::tcp_connect(uint16_t port, const Limits& limits) {
  microvm_agent_TcpConnectRequest request{};
  request.port = port;
  auto operation = Operation::open(link_, "connect to guest port " + std::to_string(port), limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::tcp_connect, encode_message(request), limits);
  if (!sent) return base::fail(sent.error());
  if (auto ok = operation->expect_ok(limits); !ok) return base::fail(ok.error());
  return as_blocking(operation->take_stream());
}

Result<void> AgentClient::freeze(FreezeFor purpose, const Limits& limits) {
  microvm_agent_FreezeRequest request{};
  request.keep_dirty = purpose == FreezeFor::state;
  constexpr const char* kWhat = "freeze the guest";
  if (can_ask_on_doorbell()) {
    return ask_on_doorbell(kWhat, FrameType::freeze, encode_message(request), limits);
  }
  auto operation = Operation::open(link_, kWhat, limits);
  if (!operation) return base::fail(operation.error());
  auto sent = operation->send(FrameType::freeze, encode_message(request), limits);
  if (!sent) return sent;
  if (auto ok = operation->expect_ok(limits); !ok) return ok;
  freeze_ = operation->take_stream();
  return {};
}

Result<void> AgentClient::drop_caches(const Limits& limits) {
  microvm_agent_FreezeRequest request{};
  request.drop_caches = true;
  request.keep_running = true;
  return ask(link_, "drop the guest's caches", FrameType::freeze, encode_message(request), limits);
}

Result<void> AgentClient::wait_port(uint16_t port, std::chrono::milliseconds timeout,
                                    const Limits& limits) {
  microvm_agent_WaitPortRequest request{};
  request.port = port;
  request.timeout_ms = static_cast<uint32_t>(std::clamp<int64_t>(timeout.count(), 1, UINT32_MAX));
  // The agent answers by its own clock; the margin is for a guest that no longer does.
  return ask(link_, "wait for guest port " + std::to_string(port), FrameType::wait_port,
             encode_message(request), limits.within(timeout + std::chrono::seconds(10)));
}

Result<void> AgentClient::thaw(const Limits& limits) {
  auto identity = make_identity({});
  if (!identity) return base::fail(identity.error());
  microvm_agent_Identity message{};
  set_seed_and_clock(message, identity->seed);
  if (can_ask_on_doorbell() && !freeze_) {
    return ask_on_doorbell("thaw the guest", FrameType::thaw, encode_message(message), limits);
  }
  auto thawed = ask(link_, "thaw the guest", FrameType::thaw, encode_message(message), limits);
  freeze_.reset();
  return thawed;
}

bool AgentClient::can_ask_on_doorbell() {
  if (!doorbell_.stream || doorbell_.agent_version < wire::kFreezesOnDoorbell) return false;
  if (!is_quiet(doorbell_.stream.get())) doorbell_.stream.reset();  // the agent may ring anew
  return doorbell_.stream.valid();
}

// One that is not answered with ok in time is closed: a late answer would be taken for the next
// one's. The agent lets the guest's programs go on then, and rings again.
Result<void> AgentClient::ask_on_doorbell(std::string what, FrameType type, wire::ByteView body,
                                          const Limits& limits) {
  auto operation = Operation::on(link_, std::move(what), std::move(doorbell_.stream));
  if (auto sent = operation.send(type, body, limits); !sent) return sent;
  if (auto ok = operation.expect_ok(limits); !ok) return ok;
  doorbell_.stream = operation.take_stream();
  return {};
}

Result<GuestActivity> AgentClient::activity(const Limits& limits) {
  auto operation = Operation::open(link_, "look at the guest's activity", limits);
  if (!operation) return base::fail(operation.error());
  if (auto sent = operation->send(FrameType::activity, {}, limits); !sent) {
    return base::fail(sent.error());
  }
  const auto frame = operation->receive(limits);
  if (!frame) return base::fail(frame.error());
  if (frame->type != FrameType::activity_report) return operation->unexpected(*frame);
  const auto message = decode_message<microvm_agent_Activity>(frame->body);
  if (!message) return base::fail(message.error());
  return GuestActivity{message->programs, message->stream_bytes, message->cpu_us,
                       message->kept_awake, message->wants_suspend};
}

Result<void> AgentClient::end_programs(const Limits& limits) {
  return ask(link_, "end the programs", FrameType::end_programs, {}, limits);
}

Result<void> AgentClient::power_off(const Limits& limits) {
  return ask(link_, "power off", FrameType::power_off, {}, limits);
}

}  // namespace microvm::host
