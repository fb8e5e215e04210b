// One program on a pseudo terminal, and everybody who watches it. A thread does all the work, from
// the program's start until it has ended and the last client has left; the operations' threads only
// leave their wishes here.
#pragma once

#include <string>
#include <vector>

#include "agent/base/sync.hpp"
#include "agent/link/channel.hpp"
#include "agent/program/program.hpp"
#include "agent/terminal/pty_client.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxPtyClients = 8;              // per session
inline constexpr size_t kPtyRingBytes = 256 * 1024;      // recent output of a session
inline constexpr size_t kPtyEndedRingBytes = 16 * 1024;  // … whose program has ended
inline constexpr int64_t kHangUpMs = 5000;               // from SIGHUP to SIGKILL

struct PtySettings {
  std::string id;
  TerminalSize size;
  bool shared_writing = false;
};

class PtySession {
 public:
  PtySession(PtySettings settings, base::Fd wake);
  PtySession(const PtySession&) = delete;
  PtySession& operator=(const PtySession&) = delete;

  // --- on the session's thread
  // Starts the program; the connection becomes the first client, or is told why there is none: then
  // the session has ended and is collected.
  void start(const Program& program, int root, int cgroup, base::Fd connection);
  // Returns when the program has ended and nobody is left to be told.
  void serve();

  // --- on any thread
  [[nodiscard]] const std::string& id() const { return settings_.id; }
  // True: no thread serves this ended session, and the caller has to find one for serve().
  [[nodiscard]] bool attach(PtyWish wish);
  // SIGHUP, and after a while SIGKILL. True when the program has ended within the time.
  [[nodiscard]] bool hang_up(int64_t timeout_ms);
  // Once the program has ended, its clients have to go.
  void dismiss();
  [[nodiscard]] bool ended();
  // Somebody has the exit status: it need not be kept.
  [[nodiscard]] bool collected();
  [[nodiscard]] microvm_agent_PtyInfo info();

 private:
  class ClientSink;

  // The turns of serve().
  [[nodiscard]] bool serving();
  void wait_for_something();
  [[nodiscard]] pollfd terminal_interest();
  [[nodiscard]] int timeout_ms() const;
  void take_wishes();
  void receive_from_clients();
  void send_to_clients();

  void note_failed_start(int code);
  void admit(PtyWish wish);
  void take_pen();
  [[nodiscard]] microvm_agent_PtyOpened describe() const;
  [[nodiscard]] bool pen_is_taken() const;
  [[nodiscard]] uint64_t start_position(const PtyWish& wish) const;
  void drop(size_t index);

  void collect_output(size_t limit);
  void note_end();
  void hurry_end();
  void signal_program(int signal) const;
  void resize(TerminalSize size);
  void publish();
  void wake() const;

  const PtySettings settings_;
  const base::Fd wake_;

  // The serving thread's.
  std::string command_;
  PtyTerminal terminal_;
  Child child_;
  PtyRing ring_{kPtyRingBytes};
  TerminalSize size_;
  std::vector<PtyClient> clients_;
  std::vector<pollfd> polls_;
  std::vector<std::byte> chunk_;
  std::optional<ExitStatus> status_;
  Deadline kill_at_ = Deadline::never();
  Deadline quiet_until_ = Deadline::never();  // nothing has the terminal open

  Mutex mutex_;  // of what follows
  Condition changed_;
  std::vector<PtyWish> newcomers_;
  bool hang_up_wanted_ = false;
  bool dismissed_ = false;
  bool collected_ = false;
  bool served_ = true;
  microvm_agent_PtyInfo info_{};
};

}  // namespace microvm::agent
