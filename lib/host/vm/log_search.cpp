#include "host/vm/log_search.hpp"

#include <utility>

namespace microvm::host {
namespace {

constexpr const char* kFollow = "follow the log";

wire::LogsRequest follow_request(LogSource source, uint64_t from) {
  using Which = wire::LogsRequest::Which;
  return {.which = source == LogSource::app ? Which::app : Which::kernel,
          .follow = true,
          .positions = true,
          .from = from};
}

Result<LogSearch::Stream> to_stream(ControlClient::Reply reply,
                                    const std::shared_ptr<ControlClient>& client) {
  const auto* place = std::get_if<wire::LogsReply>(&reply.message);
  const bool is_known = place != nullptr || std::holds_alternative<wire::OkReply>(reply.message);
  if (!is_known || reply.fds.size() != 1) {
    return base::fail(ErrorCode::protocol, std::string(kFollow) + ": the worker sent no stream");
  }
  return LogSearch::Stream{std::move(reply.fds[0]),
                           place != nullptr ? std::optional(*place) : std::nullopt, client};
}

}  // namespace

bool LogSearch::begin(const LogCursor& cursor, bool wants_rest) {
  const base::MutexLock lock(mutex_);
  if (under_way_ || found_) return false;
  cursor_ = cursor;
  wants_rest_ = wants_rest;
  under_way_ = true;
  return true;
}

std::optional<Result<LogSearch::Found>> LogSearch::take() {
  const base::MutexLock lock(mutex_);
  return std::exchange(found_, std::nullopt);
}

bool LogSearch::wants_rest() const {
  const base::MutexLock lock(mutex_);
  return wants_rest_;
}

LogCursor LogSearch::cursor() const {
  const base::MutexLock lock(mutex_);
  return cursor_;
}

void LogSearch::deliver(Result<Found> found) {
  const base::MutexLock lock(mutex_);
  if (!std::exchange(under_way_, false)) return;
  found_ = std::move(found);
  seen_->raise();
}

void LogSearch::ask(Reactor& reactor, const std::shared_ptr<ControlClient>& client) {
  reactor.post([self = shared_from_this(), client] {
    self->ask_from(client, self->cursor().position(), false);
  });
}

void LogSearch::ask_from(const std::shared_ptr<ControlClient>& client, uint64_t from, bool again) {
  client->ask(follow_request(source_, from), kFollow,
              [self = shared_from_this(), client, again](Result<ControlClient::Reply> reply) {
                self->on_reply(client, std::move(reply), again);
              });
}

void LogSearch::on_reply(const std::shared_ptr<ControlClient>& client,
                         Result<ControlClient::Reply> reply, bool again) {
  if (!reply) {
    return client->ending() ? deliver(Unsettled{}) : deliver(base::fail(reply.error()));
  }
  auto stream = to_stream(std::move(*reply), client);
  if (!stream) return deliver(base::fail(stream.error()));
  const auto earlier = stream->place ? cursor().must_begin_at(*stream->place) : std::nullopt;
  if (earlier && !again) return ask_from(client, *earlier, true);
  deliver(std::move(*stream));
}

}  // namespace microvm::host
