#include "host/session/stream_end.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <utility>

namespace microvm::host {

Error StreamEnd::find(StreamHome* home, AgentLink& link, const std::string& what) {
  return home != nullptr ? home->why_ended(link, what) : link.broken(what);
}

Error StreamEnd::why(const Operation& operation, const Limits& limits) const {
  AgentLink& link = operation.link();
  if (limits.may_wait() || !home_) return find(home_.get(), link, operation.what());
  std::unique_lock lock(answer_->mutex);
  if (!answer_->why && !answer_->is_asked) {
    answer_->is_asked =
        home_->later(StreamHome::Errand::look,
                     [answer = answer_, late = std::weak_ptr(home_), what = operation.what(),
                      link = operation.shared_link()](const Limits&) {
                       const auto home = late.lock();
                       Error found = find(home.get(), *link, what);
                       const std::scoped_lock held(answer->mutex);
                       answer->why = std::move(found);
                     });
  }
  if (answer_->why) return *answer_->why;
  if (answer_->is_asked) return Limits::would_block(operation.what()).value();
  lock.unlock();
  return find(home_.get(), link, operation.what());
}

void Farewell::say(const std::shared_ptr<Operation>& operation, StreamHome* home,
                   std::chrono::milliseconds patience, const Limits& limits) {
  if (limits.may_wait()) return operation->collect(patience, limits);
  if (patience.count() == 0) return operation->collect(patience, limits);
  const auto wait = [operation, patience](const Limits& errand) {
    operation->collect(patience, errand);
    ::shutdown(operation->fd(), SHUT_RDWR);
  };
  if (home != nullptr && home->later(StreamHome::Errand::look, wait)) {
    operation_ = operation;
  } else {
    operation->collect({}, limits);
  }
}

Result<void> Farewell::wait(const Limits& limits) {
  if (!operation_) return {};
  auto through = limits.wait(operation_->fd(), POLLIN | POLLRDHUP, operation_->what());
  if (through) operation_.reset();
  return through;
}

}  // namespace microvm::host
