// The terminal sessions of a guest: those whose program runs, and the last that ended.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "agent/terminal/pty_session.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxLivePtys = 32;
inline constexpr size_t kMaxEndedPtys = 32;  // the oldest are forgotten

class PtyTable {
 public:
  PtyTable() = default;
  // Ends all programs and waits for the sessions' threads.
  ~PtyTable();
  PtyTable(const PtyTable&) = delete;
  PtyTable& operator=(const PtyTable&) = delete;

  using Session = std::shared_ptr<PtySession>;

  // A session without its program; an empty id is filled in. Errors: the id is not one or taken,
  // too many.
  [[nodiscard]] Outcome<Session> add(PtySettings settings);
  [[nodiscard]] Outcome<Session> find(std::string_view id);
  [[nodiscard]] std::vector<microvm_agent_PtyInfo> list();
  void forget(const Session& session);

  // On a thread of its own: starts the program, as spawn() does, and serves it. An error: the
  // connection was told.
  void open(const Session& session, Program program, int root_fd, int cgroup, base::Fd connection);
  void attach(const Session& session, PtyWish wish);

 private:
  template <class Body>
  [[nodiscard]] int run_thread(Body body);
  void serve(const Session& session);
  [[nodiscard]] Outcome<void> check_new(const PtySettings& settings) const;
  [[nodiscard]] std::string next_id();
  [[nodiscard]] bool has(std::string_view id) const;
  void forget_oldest_ended();

  Mutex mutex_;
  Condition changed_;
  std::vector<Session> sessions_;  // the oldest first
  uint32_t last_id_ = 0;
  int threads_ = 0;
};

}  // namespace microvm::agent
