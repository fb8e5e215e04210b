#include "agent/session/session_table.hpp"

#include <sys/eventfd.h>

#include <algorithm>

#include "agent/base/thread.hpp"

namespace microvm::agent {
namespace {

bool is_id(std::string_view id) {
  return !id.empty() && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// One whose end somebody has is only there for the clients that still read.
bool is_called(Session& session, std::string_view id) {
  return session.id() == id && !session.collected();
}

template <class S>
Outcome<std::shared_ptr<S>> as(Outcome<SessionTable::AnySession> session) {
  if (!session) return fail(session.error());
  return std::static_pointer_cast<S>(*session);
}

}  // namespace

SessionTable::~SessionTable() {
  end_all();
}

void SessionTable::end_all() {
  for (const auto& session : all()) {
    static_cast<void>(session->end_program(kHangUpMs * 2));
    session->dismiss();
  }
  const Lock lock(mutex_);
  while (threads_ > 0) changed_.wait(mutex_);
}

std::string SessionTable::name_of(std::string_view id) const {
  return std::string(rules_.noun) + " \"" + std::string(id) + "\"";
}

bool SessionTable::has(std::string_view id) const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [&](const AnySession& session) { return is_called(*session, id); });
}

// Numbers are not used again: a client that comes late finds its session or none.
std::string SessionTable::next_id() {
  std::string id;
  do {
    id = std::to_string(++last_id_);
  } while (has(id));
  return id;
}

// How many run.
Outcome<size_t> SessionTable::check_new(std::string_view id) const {
  if (!is_id(id))
    return fail(name_of("") + ": a name has letters, digits, \".\", \"_\" and \"-\"", EINVAL);
  if (has(id)) return fail(name_of(id) + " exists already", EEXIST);
  const auto live = static_cast<size_t>(
      std::count_if(sessions_.begin(), sessions_.end(),
                    [](const AnySession& session) { return !session->ended(); }));
  if (live >= rules_.max_live)
    return fail(std::to_string(rules_.max_live) + " " + rules_.noun + "s run already", EAGAIN);
  return live;
}

Outcome<base::Fd> SessionTable::prepare(std::string& id, size_t& running) {
  if (id.empty()) id = next_id();
  const auto live = check_new(id);
  if (!live) return fail(live.error());
  running = *live;
  base::Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd");
  forget_oldest_ended(rules_.max_ended - 1);
  return wake;
}

void SessionTable::forget_oldest_ended(size_t keep) {
  std::vector<std::pair<uint64_t, AnySession>> ended;  // that nobody is just reading
  for (const auto& session : sessions_) {
    if (session->ended() && !session->in_use()) ended.emplace_back(session->end_number(), session);
  }
  std::sort(ended.begin(), ended.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i + keep < ended.size(); i++) {
    ended[i].second->dismiss();
    std::erase(sessions_, ended[i].second);
  }
}

// The last that ended keep what they have as long as it is not much together.
void SessionTable::trim_ended() {
  const Lock lock(mutex_);
  forget_oldest_ended(rules_.max_ended);
  size_t kept = 0;
  for (size_t i = sessions_.size(); i-- > 0;) {
    kept += sessions_[i]->kept_bytes();
    if (kept > kMaxEndedRingBytes) sessions_[i]->keep_less(kLeastEndedRingBytes);
  }
}

Outcome<SessionTable::AnySession> SessionTable::find_any(std::string_view id) {
  const Lock lock(mutex_);
  for (const auto& session : sessions_) {
    if (is_called(*session, id)) return session;
  }
  return fail(
      is_id(id) ? name_of(id) + ": there is none" : "there is no such " + std::string(rules_.noun),
      ENOENT);
}

std::vector<SessionTable::AnySession> SessionTable::all() {
  const Lock lock(mutex_);
  return sessions_;
}

std::vector<SessionTable::AnySession> SessionTable::known() {
  auto sessions = all();
  std::erase_if(sessions, [](const AnySession& session) { return session->collected(); });
  return sessions;
}

uint32_t SessionTable::count_in_use() {
  const auto sessions = all();
  return static_cast<uint32_t>(
      std::count_if(sessions.begin(), sessions.end(),
                    [](const AnySession& session) { return session->in_use(); }));
}

void SessionTable::forget(const AnySession& session) {
  session->dismiss();
  const Lock lock(mutex_);
  std::erase(sessions_, session);
}

// 0, or why there is no thread.
template <class Body>
int SessionTable::run_thread(Body body) {
  {
    const Lock lock(mutex_);
    threads_++;
  }
  const int error = start_thread([this, body = std::move(body)]() mutable {
    body();
    const Lock lock(mutex_);
    threads_--;
    changed_.notify_all();
  });
  if (error == 0) return 0;
  const Lock lock(mutex_);
  threads_--;
  return error;
}

void SessionTable::serve(const AnySession& session) {
  session->serve();
  if (session->collected())
    forget(session);
  else
    trim_ended();
}

void SessionTable::refuse_thread(base::Fd connection, int error) const {
  refuse_client(std::move(connection), {EAGAIN, "no thread for the " + std::string(rules_.noun) +
                                                    ": " + error_text(error)});
}

template <class Start>
void SessionTable::open_any(const AnySession& session, base::Fd connection, Start start) {
  const int fd = connection.release();
  const int error = run_thread([this, session, start = std::move(start), fd] {
    start(base::Fd(fd));
    serve(session);
  });
  if (error == 0) return;
  forget(session);
  refuse_thread(base::Fd(fd), error);
}

void SessionTable::attach(const AnySession& session, Wish wish) {
  if (!session->attach(std::move(wish))) return;
  const int error = run_thread([this, session] { serve(session); });
  if (error != 0) forget(session);
}

Outcome<PtyTable::Ref> PtyTable::add(PtySettings settings) {
  const std::string id = settings.id;
  return as<PtySession>(SessionTable::add(id, [&](std::string chosen, base::Fd wake, size_t) {
    settings.id = std::move(chosen);
    return new PtySession(std::move(settings), std::move(wake));
  }));
}

Outcome<PtyTable::Ref> PtyTable::find(std::string_view id) {
  return as<PtySession>(find_any(id));
}

std::vector<microvm_agent_PtyInfo> PtyTable::list() {
  std::vector<microvm_agent_PtyInfo> infos;
  for (const auto& session : known())
    infos.push_back(std::static_pointer_cast<PtySession>(session)->info());
  return infos;
}

void PtyTable::open(const Ref& session, Program program, int root_fd, int cgroup,
                    base::Fd connection) {
  open_any(session, std::move(connection),
           [session, program = std::move(program), root_fd, cgroup](base::Fd client) {
             session->start(program, root_fd, cgroup, std::move(client));
           });
}

Outcome<ExecTable::Added> ExecTable::add(ExecSettings settings) {
  const std::string id = settings.id;
  const uint64_t attempt = settings.attempt;
  bool is_new = false;
  const auto session = as<ExecSession>(find_or_add(
      [attempt](const Session& other) {
        return attempt != 0 && static_cast<const ExecSession&>(other).attempt() == attempt;
      },
      id,
      [&](std::string chosen, base::Fd wake, size_t running) {
        is_new = true;
        settings.id = std::move(chosen);
        return new ExecSession(std::move(settings), std::move(wake), exec_ring_bytes(running),
                               drain_);
      }));
  if (!session) return fail(session.error());
  return Added{*session, is_new};
}

Outcome<ExecTable::Ref> ExecTable::find(std::string_view id) {
  return as<ExecSession>(find_any(id));
}

std::vector<microvm_agent_ExecInfo> ExecTable::list() {
  std::vector<microvm_agent_ExecInfo> infos;
  for (const auto& session : known())
    infos.push_back(std::static_pointer_cast<ExecSession>(session)->info());
  return infos;
}

void ExecTable::open(const Ref& session, Program program, int root_fd, int cgroup,
                     base::Fd connection) {
  open_any(session, std::move(connection),
           [session, program = std::move(program), root_fd, cgroup](base::Fd client) {
             session->start(program, root_fd, cgroup, std::move(client));
           });
}

}  // namespace microvm::agent
