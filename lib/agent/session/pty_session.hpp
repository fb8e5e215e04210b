// One program on a pseudo terminal, and everybody who watches it.
#pragma once

#include <string>

#include "agent/session/pty_terminal.hpp"
#include "agent/session/session.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxPtyClients = 8;              // per session
inline constexpr size_t kPtyRingBytes = 256 * 1024;      // recent output of a session
inline constexpr size_t kPtyEndedRingBytes = 16 * 1024;  // … whose program has ended
inline constexpr int64_t kHangUpMs = 5000;               // from SIGHUP to SIGKILL

inline constexpr SessionRules kPtyRules{
    .noun = "terminal", .max_clients = kMaxPtyClients, .ended_ring_bytes = kPtyEndedRingBytes};
inline constexpr ClientPace kPtyPace{
    .hold_bytes = 128 * 1024, .patience_ms = 2000, .input_bytes = 4096};

struct PtySettings {
  std::string id;
  TerminalSize size;
  bool shared_writing = false;
};

class PtySession final : public Session {
 public:
  PtySession(PtySettings settings, base::Fd wake);

  // Starts the program, on the thread that serves it then; the connection becomes the first client,
  // or is told why there is none.
  void start(const Program& program, int root, int cgroup, base::Fd connection);
  // Any thread.
  [[nodiscard]] microvm_agent_PtyInfo info();

 private:
  void watch_program(std::vector<pollfd>& polls, bool read_more) override;
  void serve_program(std::span<const pollfd> polls) override;
  [[nodiscard]] int program_timeout_ms() const override { return quiet_until_.poll_timeout_ms(); }
  void leave_program() override;
  void begin_end() override;
  void signal_program(int signal) override;
  [[nodiscard]] Outcome<void> check(const Wish&) const override { return {}; }
  void welcome(SessionClient& client, const Wish& wish) override;
  void on_gone(const SessionClient&, Gone) override {}
  [[nodiscard]] bool expects(FrameType type) const override;
  [[nodiscard]] Outcome<void> take_control(SessionClient& client, FrameType type,
                                           std::span<const std::byte> body) override;
  [[nodiscard]] size_t take_input(std::span<const std::byte> bytes) override;
  void fill_info() override;

  void collect_output(size_t limit);
  void resize(TerminalSize size);

  const bool shared_writing_;
  std::string command_;
  PtyTerminal terminal_;
  TerminalSize size_;
  std::vector<std::byte> chunk_;
  Deadline quiet_until_ = Deadline::never();  // nothing has the terminal open
  microvm_agent_PtyInfo info_{};
};

}  // namespace microvm::agent
