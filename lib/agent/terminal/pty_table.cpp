#include "agent/terminal/pty_table.hpp"

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

std::string name_of(std::string_view id) {
  return "terminal \"" + std::string(id) + "\"";
}

void refuse(base::Fd connection, int error) {
  Channel(std::move(connection))
      .send_failure({error, "no thread for the terminal: " + error_text(error)});
}

}  // namespace

PtyTable::~PtyTable() {
  std::vector<Session> sessions;
  {
    const Lock lock(mutex_);
    sessions = sessions_;
  }
  for (const auto& session : sessions) {
    static_cast<void>(session->hang_up(kHangUpMs * 2));
    session->dismiss();
  }
  const Lock lock(mutex_);
  while (threads_ > 0) changed_.wait(mutex_);
}

bool PtyTable::has(std::string_view id) const {
  return std::any_of(sessions_.begin(), sessions_.end(),
                     [&](const Session& session) { return session->id() == id; });
}

// Numbers are not used again: a client that comes late finds its session or none.
std::string PtyTable::next_id() {
  std::string id;
  do {
    id = std::to_string(++last_id_);
  } while (has(id));
  return id;
}

Outcome<void> PtyTable::check_new(const PtySettings& settings) const {
  if (!is_id(settings.id))
    return fail(name_of("") + ": a name has letters, digits, \".\", \"_\" and \"-\"", EINVAL);
  if (has(settings.id)) return fail(name_of(settings.id) + " exists already", EEXIST);
  const auto live = std::count_if(sessions_.begin(), sessions_.end(),
                                  [](const Session& session) { return !session->ended(); });
  if (static_cast<size_t>(live) >= kMaxLivePtys)
    return fail(std::to_string(kMaxLivePtys) + " terminals are open already", EAGAIN);
  return {};
}

Outcome<PtyTable::Session> PtyTable::add(PtySettings settings) {
  const Lock lock(mutex_);
  if (settings.id.empty()) settings.id = next_id();
  if (auto checked = check_new(settings); !checked) return fail(checked.error());
  base::Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("eventfd");
  forget_oldest_ended();
  // Not make_shared, which needs the unwinder.
  sessions_.push_back(Session(new PtySession(std::move(settings), std::move(wake))));
  return sessions_.back();
}

void PtyTable::forget_oldest_ended() {
  size_t ended = 0;
  for (size_t i = sessions_.size(); i-- > 0;) {
    if (!sessions_[i]->ended() || ++ended < kMaxEndedPtys) continue;
    sessions_[i]->dismiss();
    sessions_.erase(sessions_.begin() + static_cast<ptrdiff_t>(i));
  }
}

Outcome<PtyTable::Session> PtyTable::find(std::string_view id) {
  const Lock lock(mutex_);
  for (const auto& session : sessions_) {
    if (session->id() == id) return session;
  }
  return fail(is_id(id) ? name_of(id) + ": there is none" : "there is no such terminal", ENOENT);
}

std::vector<microvm_agent_PtyInfo> PtyTable::list() {
  const Lock lock(mutex_);
  std::vector<microvm_agent_PtyInfo> infos;
  for (const auto& session : sessions_) infos.push_back(session->info());
  return infos;
}

void PtyTable::forget(const Session& session) {
  session->dismiss();
  const Lock lock(mutex_);
  std::erase(sessions_, session);
}

// 0, or why there is no thread.
template <class Body>
int PtyTable::run_thread(Body body) {
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

void PtyTable::serve(const Session& session) {
  session->serve();
  if (session->collected()) forget(session);
}

void PtyTable::open(const Session& session, Program program, int root_fd, int cgroup,
                    base::Fd connection) {
  const int fd = connection.release();
  const int error = run_thread([this, session, program = std::move(program), root_fd, cgroup, fd] {
    session->start(program, root_fd, cgroup, base::Fd(fd));
    serve(session);
  });
  if (error == 0) return;
  forget(session);
  refuse(base::Fd(fd), error);
}

void PtyTable::attach(const Session& session, PtyWish wish) {
  if (!session->attach(std::move(wish))) return;
  const int error = run_thread([this, session] { serve(session); });
  if (error != 0) forget(session);
}

}  // namespace microvm::agent
