// The sessions of one kind in a guest: those whose program runs, and the last that ended.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/program/drain.hpp"
#include "agent/session/exec_session.hpp"
#include "agent/session/pty_session.hpp"

namespace microvm::agent {

inline constexpr size_t kMaxLivePtys = 32;
inline constexpr size_t kMaxEndedPtys = 32;  // the oldest are forgotten
inline constexpr size_t kMaxLiveExecs = 1024;
inline constexpr size_t kMaxEndedExecs = 256;
// Of what those that have ended keep of their output; beyond, the oldest keep the least.
inline constexpr size_t kMaxEndedRingBytes = 8 * 1024 * 1024;
inline constexpr size_t kLeastEndedRingBytes = 4 * 1024;

class SessionTable {
 public:
  struct Rules {
    const char* noun;
    size_t max_live;
    size_t max_ended;
  };
  explicit SessionTable(const Rules& rules) : rules_(rules) {}
  // Ends all programs and waits for the sessions' threads.
  ~SessionTable();
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;

  using AnySession = std::shared_ptr<Session>;

  void forget(const AnySession& session);
  void attach(const AnySession& session, Wish wish);
  [[nodiscard]] uint32_t count_in_use();

 protected:
  void end_all();
  // A session without its program, made by `make` of an id (an empty one is filled in), of what
  // wakes it and of how many run. Errors: the id is not one or taken, too many.
  template <class Make>
  [[nodiscard]] Outcome<AnySession> add(std::string id, Make make);
  // The same, but for one that `is_it` knows: that one.
  template <class Make, class IsIt>
  [[nodiscard]] Outcome<AnySession> find_or_add(IsIt is_it, std::string id, Make make);
  [[nodiscard]] Outcome<AnySession> find_any(std::string_view id);
  [[nodiscard]] std::vector<AnySession> all();
  // Those whose end nobody has yet.
  [[nodiscard]] std::vector<AnySession> known();
  // `start` on a thread of its own, which serves the session then. An error: the connection was
  // told.
  template <class Start>
  void open_any(const AnySession& session, base::Fd connection, Start start);

 private:
  template <class Body>
  [[nodiscard]] int run_thread(Body body);
  void serve(const AnySession& session);
  [[nodiscard]] Outcome<size_t> check_new(std::string_view id) const;
  [[nodiscard]] Outcome<base::Fd> prepare(std::string& id, size_t& running);
  [[nodiscard]] std::string next_id();
  [[nodiscard]] bool has(std::string_view id) const;
  [[nodiscard]] std::string name_of(std::string_view id) const;
  void refuse_thread(base::Fd connection, int error) const;
  void forget_oldest_ended(size_t keep);
  void trim_ended();

  const Rules rules_;
  Mutex mutex_;
  Condition changed_;
  std::vector<AnySession> sessions_;  // the oldest first
  uint32_t last_id_ = 0;
  int threads_ = 0;
};

template <class Make, class IsIt>
Outcome<SessionTable::AnySession> SessionTable::find_or_add(IsIt is_it, std::string id, Make make) {
  const Lock lock(mutex_);
  for (const auto& session : sessions_) {
    if (is_it(*session)) return session;
  }
  size_t running = 0;
  auto wake = prepare(id, running);
  if (!wake) return fail(wake.error());
  // Not make_shared, which needs the unwinder.
  sessions_.push_back(AnySession(make(std::move(id), std::move(*wake), running)));
  return sessions_.back();
}

template <class Make>
Outcome<SessionTable::AnySession> SessionTable::add(std::string id, Make make) {
  return find_or_add([](const Session&) { return false; }, std::move(id), std::move(make));
}

class PtyTable : public SessionTable {
 public:
  using Ref = std::shared_ptr<PtySession>;

  PtyTable()
      : SessionTable({.noun = "terminal", .max_live = kMaxLivePtys, .max_ended = kMaxEndedPtys}) {}

  [[nodiscard]] Outcome<Ref> add(PtySettings settings);
  [[nodiscard]] Outcome<Ref> find(std::string_view id);
  [[nodiscard]] std::vector<microvm_agent_PtyInfo> list();
  // On a thread of its own: starts the program, as spawn() does, and serves it. An error: the
  // connection was told.
  void open(const Ref& session, Program program, int root_fd, int cgroup, base::Fd connection);
};

class ExecTable : public SessionTable {
 public:
  using Ref = std::shared_ptr<ExecSession>;

  ~ExecTable() { end_all(); }  // they use the drain
  ExecTable()
      : SessionTable({.noun = "exec", .max_live = kMaxLiveExecs, .max_ended = kMaxEndedExecs}) {}

  struct Added {
    Ref session;
    bool is_new;  // false: an earlier attempt of the same request has started it
  };
  [[nodiscard]] Outcome<Added> add(ExecSettings settings);
  [[nodiscard]] Outcome<Ref> find(std::string_view id);
  [[nodiscard]] std::vector<microvm_agent_ExecInfo> list();
  void open(const Ref& session, Program program, int root_fd, int cgroup, base::Fd connection);

 private:
  Drain drain_;
};

}  // namespace microvm::agent
