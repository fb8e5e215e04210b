// Messages of the control wire over one non-blocking SOCK_SEQPACKET socket.
#pragma once

#include <span>
#include <vector>

#include "base/fd.hpp"
#include "host/base/limits.hpp"
#include "wire/control.hpp"

namespace microvm::host {

struct Received {
  enum class State { message, would_block, end };
  State state = State::would_block;
  wire::Envelope envelope;
  std::vector<base::Fd> fds;
  bool out_of_fds = false;  // it came with fds, which this process has no room for
};

// What is said then.
Error out_of_fds_error(std::string_view what);

// Waits while the worker does not take messages. Errors: vm_gone when it is gone, unsupported when
// the version has no such message.
Result<void> send_control(int socket, const wire::Envelope& envelope, std::span<const int> fds,
                          const Limits& limits, std::string_view what);

// Takes one message without waiting. Errors: protocol (not a valid message), unsupported (one of a
// version we do not know), io.
Result<Received> try_receive_control(int socket);

// Waits for a message or the end.
Result<Received> receive_control(int socket, const Limits& limits, std::string_view what);

// The error a worker replied with; its text and code are checked.
Error worker_error(const wire::ErrorReply& reply);

}  // namespace microvm::host
