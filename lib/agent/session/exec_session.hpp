// One program of exec with its pipes, and everybody who reads or writes them.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "agent/program/drain.hpp"
#include "agent/program/pipes.hpp"
#include "agent/session/session.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxExecClients = 16;         // per session
inline constexpr size_t kExecRingBytes = 256 * 1024;  // recent output of a session
inline constexpr int64_t kLostPatienceMs = 10'000;    // for a client that was lost

inline constexpr SessionRules kExecRules{
    .noun = "exec", .max_clients = kMaxExecClients, .ended_ring_bytes = kExecRingBytes};

// So that many do not eat a small guest: the first 32 that run have all of it, those up to 128 a
// quarter, the others a sixteenth: 28 MiB in all, as far as they are written to.
[[nodiscard]] size_t exec_ring_bytes(size_t running);

struct ExecSettings {
  std::string id;
  bool keep = false;      // the program outlives the loss of its client
  bool detached = false;  // … and is not slowed for it
  uint64_t attempt = 0;   // see wire/agent.proto
};

class ExecSession final : public Session {
 public:
  ExecSession(ExecSettings settings, base::Fd wake, size_t ring_bytes, Drain& drain);

  // Starts the program, on the thread that serves it then; the connection becomes the first client,
  // or is told why there is none.
  void start(const Program& program, int root, int cgroup, base::Fd connection);

  // Any thread.
  [[nodiscard]] microvm_agent_ExecInfo info();
  [[nodiscard]] uint64_t attempt() const { return settings_.attempt; }

 private:
  // stdout or stderr on its way into the ring.
  struct Output {
    base::Fd fd;
    OutputStream stream;
    // What was in the pipe when the program ended. Only that is still read: the pipe may be kept
    // open by something it left running, as with a shell's `&`.
    size_t left = SIZE_MAX;

    [[nodiscard]] bool open() const { return fd.valid() && left > 0; }
  };

  void watch_program(std::vector<pollfd>& polls, bool read_more) override;
  void serve_program(std::span<const pollfd> polls) override;
  [[nodiscard]] int program_timeout_ms() const override;
  void leave_program() override;
  [[nodiscard]] bool drained() const override;
  void begin_end() override;
  [[nodiscard]] bool timed_out() const override { return timed_out_; }
  [[nodiscard]] Outcome<void> check(const Wish& wish) const override;
  void welcome(SessionClient& client, const Wish& wish) override;
  void on_gone(const SessionClient& client, Gone how) override;
  [[nodiscard]] bool expects(FrameType type) const override;
  [[nodiscard]] Outcome<void> take_control(SessionClient& client, FrameType type,
                                           std::span<const std::byte> body) override;
  [[nodiscard]] size_t take_input(std::span<const std::byte> bytes) override;
  void fill_info() override;

  [[nodiscard]] static ClientPace pace_for(size_t ring_bytes);
  [[nodiscard]] bool waits_for_lost();
  void collect_output(Output& output);
  void hand_over(Output& output);
  void drop_program();

  const ExecSettings settings_;
  Drain& drain_;
  std::string command_;
  std::array<Output, 2> outputs_;
  base::Fd stdin_;
  uint64_t stdin_bytes_ = 0;
  Deadline deadline_ = Deadline::never();
  bool timed_out_ = false;
  // The last client was lost: where it stood, and how long the program waits for it once the ring
  // is full of what nobody has.
  std::optional<uint64_t> lost_at_;
  Deadline lost_patience_ = Deadline::never();
  std::vector<std::byte> chunk_;
  std::atomic<uint64_t> output_bytes_{0};
  microvm_agent_ExecInfo info_{};
};

}  // namespace microvm::agent
