#include "host/worker/control_channel.hpp"

#include <poll.h>

#include "host/base/printable.hpp"
#include "sys/socket.hpp"

namespace microvm::host {

Result<void> send_control(int socket, const wire::Envelope& envelope, std::span<const int> fds,
                          const Limits& limits, std::string_view what) {
  if (fds.size() > wire::kMaxControlFds) {
    return base::fail(ErrorCode::unsupported, std::string(what) + ": too many disk layers");
  }
  const auto bytes = wire::encode(envelope);
  if (!bytes) {
    return base::fail(bytes.error().code,
                      std::string(what) + ": " + bytes.error().message +
                          ": suspend and resume the microvm for a newer worker");
  }
  for (;;) {
    const auto sent = sys::send_message(socket, *bytes, fds);
    if (sent) return {};
    if (sent.error().code == ErrorCode::vm_gone) {
      return base::fail(ErrorCode::vm_gone, std::string(what) + ": the worker has ended");
    }
    if (sent.error().code != ErrorCode::busy) return sent;
    if (auto ready = limits.wait(socket, POLLOUT, what); !ready) return ready;
  }
}

Result<Received> try_receive_control(int socket) {
  auto message = sys::receive_message(
      socket, {.bytes = wire::kMaxControlMessage, .fds = wire::kMaxControlFds});
  if (!message) {
    if (message.error().code == ErrorCode::busy) return Received{};
    if (message.error().code == ErrorCode::vm_gone)
      return Received{Received::State::end, {}, {}, false};
    return base::fail(message.error());
  }
  auto envelope = wire::decode(message->bytes);
  if (!envelope && envelope.error().code == ErrorCode::unsupported) {
    return base::fail(ErrorCode::unsupported,
                      "the worker speaks " + envelope.error().message +
                          ": use the library that started it, or a newer one");
  }
  if (!envelope) {
    return base::fail(ErrorCode::protocol, "the worker sent a message that can not be read");
  }
  return Received{Received::State::message, std::move(*envelope), std::move(message->fds),
                  message->out_of_fds};
}

Result<Received> receive_control(int socket, const Limits& limits, std::string_view what) {
  for (;;) {
    auto received = try_receive_control(socket);
    if (!received || received->state != Received::State::would_block) return received;
    if (auto ready = limits.wait(socket, POLLIN, what); !ready) return base::fail(ready.error());
  }
}

Error out_of_fds_error(std::string_view what) {
  return {ErrorCode::io, std::string(what) +
                             ": too many open files: raise this process's limit (ulimit -n, "
                             "RLIMIT_NOFILE) or close some"};
}

Error worker_error(const wire::ErrorReply& reply) {
  const bool known = reply.code >= 1 && reply.code <= static_cast<uint32_t>(ErrorCode::internal);
  return Error{known ? static_cast<ErrorCode>(reply.code) : ErrorCode::internal,
               printable(reply.message)};
}

}  // namespace microvm::host
