// The host's side of one agent operation, for tests: the agent's own code serves the other end of a
// socket pair on a thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/link/channel.hpp"
#include "agent/operation/guest.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

struct Frame {
  FrameType type{};
  std::string body;
};

// A guest whose programs run, with this machine's root.
struct TestGuest : Guest {
  TestGuest();
  ~TestGuest();
};

class OperationClient {
 public:
  explicit OperationClient(Guest& guest);
  ~OperationClient();  // closes the host's end and waits for the operation

  OperationClient& send(FrameType type, std::string_view body = {});
  OperationClient& send_message(FrameType type, const pb_msgdesc_t* fields, const void* message);
  void send_raw(std::string_view bytes);
  // Sends stdin until nobody takes it any more.
  void fill_stdin();
  // The next frame; empty when the agent closed the connection. Waits 10 s at most.
  std::optional<Frame> read();
  [[nodiscard]] int fd() const { return host_.get(); }
  void close() { host_.reset(); }

 private:
  bool read_exactly(char* out, size_t size);

  base::Fd host_;
  std::thread agent_;
};

struct ExecOptions {
  std::vector<std::string> argv;
  std::vector<std::string> env = {"PATH=/usr/bin:/bin"};
  std::string cwd;
  std::string user;
  uint32_t timeout_ms = 0;
  bool stdin_open = false;
};

struct ExecOutcome {
  bool started = false;
  std::string out;
  std::string err;
  std::optional<microvm_agent_Exited> exited;
  std::optional<microvm_agent_Failure> failure;
};

void send_exec(OperationClient& client, const ExecOptions& options,
               FrameType type = FrameType::exec);
// All frames up to the last.
ExecOutcome read_exec(OperationClient& client);
ExecOutcome exec(Guest& guest, const ExecOptions& options);

template <class Message>
std::optional<Message> decode(const Frame& frame, const pb_msgdesc_t* fields) {
  Message message{};
  if (!decode_message(std::as_bytes(std::span(frame.body)), fields, &message)) return std::nullopt;
  return message;
}

std::optional<microvm_agent_Failure> failure_of(const std::optional<Frame>& frame);

}  // namespace microvm::agent
