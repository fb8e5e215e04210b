// One operation of the agent: its stream and the frames on it.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "host/session/agent_client.hpp"
#include "host/session/frame_stream.hpp"
#include "wire/agent.pb.h"

namespace microvm::host {

class Operation {
 public:
  static Result<Operation> open(std::shared_ptr<AgentLink> link, std::string what,
                                const Limits& limits);

  // On a stream that is there; take_stream() gives it back.
  static Operation on(std::shared_ptr<AgentLink> link, std::string what, base::Fd stream);

  // Where one thread does all of an operation: an agent that gave up has said why, and that is the
  // error.
  Result<void> send(wire::FrameType type, wire::ByteView body, const Limits& limits);
  // The same for several in a row.
  Result<void> send(std::span<const FrameToSend> frames, const Limits& limits);
  // Reads nothing, so any thread may while another one receives.
  // `taken`: see FrameWriter.
  Result<void> push(wire::FrameType type, wire::ByteView body, const Limits& limits,
                    bool* taken = nullptr);
  // The same for who looks for himself why a stream has ended: false then.
  Result<bool> try_push(wire::FrameType type, wire::ByteView body, const Limits& limits,
                        bool* taken = nullptr);
  Result<std::optional<Frame>> try_receive(const Limits& limits);
  // As many frames as it takes.
  Result<void> push_data(wire::FrameType type, wire::ByteView data, const Limits& limits);
  // The next frame. An early end is an error with the Vm's reason, a `failed` frame one with the
  // agent's.
  Result<Frame> receive(const Limits& limits);
  // The answer to a first frame that older agents do not know; nothing when this is one of them.
  Result<std::optional<Frame>> receive_if_known(const Limits& limits);
  Result<void> expect_ok(const Limits& limits);
  // Of a session whose `exited` has arrived: the agent need not keep that for others; where it does
  // not hear this, it keeps a bounded number. It closes the stream when it has forgotten it, so
  // that somebody who wants its name again can wait for that; 0: does not.
  void collect(std::chrono::milliseconds wait, const Limits& limits);
  [[nodiscard]] base::Failure unexpected(const Frame& frame) const;

  [[nodiscard]] int fd() const { return stream_.get(); }
  [[nodiscard]] AgentLink& link() const { return *link_; }
  [[nodiscard]] const std::shared_ptr<AgentLink>& shared_link() const { return link_; }
  [[nodiscard]] const std::string& what() const { return what_; }
  [[nodiscard]] base::Fd take_stream() { return std::move(stream_); }

 private:
  Operation(std::shared_ptr<AgentLink> link, std::string what, base::Fd stream);
  [[nodiscard]] base::Failure refused(const Frame& frame) const;

  std::shared_ptr<AgentLink> link_;
  std::string what_;
  base::Fd stream_;
  FrameReader reader_;
  std::unique_ptr<FrameWriter> writer_;  // has a lock in it; the operation is movable
};

// A stream of a worker takes a frame with so much in it whole or not at all (unix_stream_sendmsg:
// one buffer, given when there is any room), so that nothing of what a call that does not wait has
// taken stays with us.
inline constexpr size_t kPieceAtOnce = 16 * 1024;

// Sends as much of the data as goes, by `send`, which is given a piece and sets how much of it has
// gone, also when it fails. Fails when nothing has.
template <class Send>
Result<size_t> send_some(wire::ByteView data, Send&& send) {
  size_t gone = 0;
  while (gone < data.size()) {
    const auto piece = data.subspan(gone, std::min(data.size() - gone, kPieceAtOnce));
    size_t of_piece = 0;
    const Result<void> sent = send(piece, of_piece);
    gone += of_piece;
    if (!sent && gone == 0) return base::fail(sent.error());
    if (!sent) return gone;
  }
  return gone;
}

// The two lists that follow exec, start and pty_open. Error: invalid_argument.
Result<wire::Bytes> string_list(const std::vector<std::string>& strings, std::string_view name,
                                size_t max_bytes = wire::kMaxFrameBody);
// Of exec, which may have them in several frames.
inline constexpr size_t kMaxExecListBytes = size_t{8} * wire::kMaxFrameBody;

// The body of a signal frame. Error: invalid_argument, as the agent takes a number that is no
// signal for a broken stream.
Result<wire::Bytes> signal_request(int signal);

// The error that a `failed` frame stands for.
base::Failure refusal(const std::string& what, const Frame& frame);

// A program as the wire has it. Errors: invalid_argument, naming what is wrong.
struct CommandFrames {
  microvm_agent_ExecRequest request{};
  wire::Bytes arguments;
  wire::Bytes environment;

  static Result<CommandFrames> make(const AgentCommand& command, size_t max_list_bytes);
  // More than the one frame that each agent knows.
  [[nodiscard]] bool is_long() const;
};
// Sends exec, exec_open or start with the two lists.
Result<void> send_command(Operation& operation, wire::FrameType type, const CommandFrames& frames,
                          const Limits& limits);

}  // namespace microvm::host
