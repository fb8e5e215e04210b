// The logs of a Vm: what is kept of them, and what comes, over the lives of its workers.
#include "host/saved/vm_logs.hpp"

#include <algorithm>
#include <thread>

#include "host/saved/vm_directory.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/worker/read_stream.hpp"
#include "wire/log_size.hpp"

namespace microvm {

using host::Limits;
using host::LogText;

// Where a follower is.
struct Vm::Impl::LogCursor {
  std::optional<uint64_t> position;  // of the next byte; none: it is not known
  uint64_t life = 0;                 // of the worker that said so
  // What a worker without positions gave: the next one gives the end of that once more.
  uint64_t unplaced = 0;
};

namespace {

constexpr std::string_view kReadLog = "read the log";
constexpr std::string_view kFollowLog = "follow the log";
constexpr std::chrono::seconds kLogLimit{10};
// A worker that is just starting or ending: so often, then what it left is looked at.
constexpr std::chrono::milliseconds kLogSettlePause{10};
constexpr int kLogSettleAttempts = 200;
constexpr std::chrono::milliseconds kAsleepPause{50};

wire::LogsRequest::Which wire_source(LogSource source) {
  return source == LogSource::app ? wire::LogsRequest::Which::app
                                  : wire::LogsRequest::Which::kernel;
}

bool has_worker(VmState state) {
  return state != VmState::suspended && state != VmState::terminated;
}

struct OpenedLog {
  base::Fd stream;
  std::optional<wire::LogsReply> place;  // none: the worker knows of no positions
};

Result<OpenedLog> open_log_at(host::ControlClient& client, LogSource source, uint64_t from,
                              const Limits& limits) {
  const wire::LogsRequest request{
      .which = wire_source(source), .follow = true, .positions = true, .from = from};
  auto reply = client.call(request, {}, limits, kFollowLog);
  if (!reply) return base::fail(reply.error());
  const auto* place = std::get_if<wire::LogsReply>(&reply->message);
  const bool is_known = place != nullptr || std::holds_alternative<wire::OkReply>(reply->message);
  if (!is_known || reply->fds.size() != 1) {
    return base::fail(ErrorCode::protocol, std::string(kFollowLog) + ": the worker sent no stream");
  }
  return OpenedLog{std::move(reply->fds[0]),
                   place != nullptr ? std::optional(*place) : std::nullopt};
}

}  // namespace

Result<std::string> Vm::logs(LogSource source, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->read_log(source, Limits(limits, kLogLimit));
}

Result<void> Vm::follow_logs(LogSource source, const std::function<void(std::string_view)>& sink,
                             const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(); !ok) return base::fail(ok.error());
  return impl_->follow_log(source, sink, Limits(limits));
}

// Another thread may be removing the directory of a Vm of ours, whose logs are held then.
Result<LogText> Vm::Impl::read_log_at_rest(LogSource source) {
  if (ended()) end_reason();  // the worker writes the files before it is gone
  const auto held = live_.copy_logs();
  if (!held) return base::fail(held.error());
  if (*held) return host::read_log(**held, source);
  auto text = host::read_log(dir, source);
  if (text || text.error().code != ErrorCode::not_found) return text;
  const auto held_by_now = live_.copy_logs();
  return held_by_now && *held_by_now ? host::read_log(**held_by_now, source) : std::move(text);
}

Result<std::string> Vm::Impl::read_log(LogSource source, const Limits& limits) {
  for (int attempt = 0; attempt < kLogSettleAttempts; ++attempt) {
    if (auto ok = limits.check(kReadLog); !ok) return base::fail(ok.error());
    const auto session = worker_session();
    if (!session && !has_worker(guest_state())) break;
    if (session) {
      const auto stream = session->client->call_for_stream({wire::LogsRequest{wire_source(source)}},
                                                           limits, kReadLog);
      auto text = stream ? host::read_stream(stream->get(), wire::kMaxLogBytes, limits, kReadLog)
                         : Result<std::string>(base::fail(stream.error()));
      // One that has ended under it may not have given all.
      if (!session->client->ending()) return text;
    }
    std::this_thread::sleep_for(kLogSettlePause);
  }
  auto text = read_log_at_rest(source);
  if (!text) return base::fail(text.error());
  return std::move(text->text);
}

Result<void> Vm::Impl::follow_worker(Session& session, LogSource source, LogCursor& cursor,
                                     const LogSink& sink, const Limits& limits) {
  auto opened = open_log_at(*session.client, source, cursor.position.value_or(0), limits);
  // What a killed worker had printed last was not kept: the next one's positions begin before.
  if (opened && opened->place && cursor.position && cursor.life != opened->place->life &&
      *cursor.position > opened->place->life_begin) {
    opened = open_log_at(*session.client, source, opened->place->life_begin, limits);
  }
  if (!opened) return base::fail(opened.error());
  uint64_t skip = 0;
  if (const auto& place = opened->place) {
    if (cursor.unplaced > 0) skip = place->life_begin - std::min(place->begin, place->life_begin);
    cursor = {.position = place->begin, .life = place->life};
  } else {
    skip = std::min<uint64_t>(cursor.unplaced, wire::kMaxLogBytes);
    cursor = {};
  }
  const auto pass_on = [&](std::string_view piece) {
    if (cursor.position)
      *cursor.position += piece.size();
    else
      cursor.unplaced += piece.size();
    const uint64_t skipped = std::min<uint64_t>(skip, piece.size());
    skip -= skipped;
    if (skipped < piece.size()) sink(piece.substr(skipped));
  };
  auto followed = host::follow_stream(opened->stream.get(), pass_on, limits, kFollowLog);
  // There is nothing to go on with before its end.
  if (followed && !cursor.position) return session.client->wait_ended(limits, kFollowLog);
  return followed;
}

// What the worker could not give any more.
Result<void> Vm::Impl::pass_on_rest(LogSource source, LogCursor& cursor, const LogSink& sink) {
  const auto log = read_log_at_rest(source);
  const bool knows_some = cursor.position || cursor.unplaced > 0;
  if (!log) {
    // By another process, which has removed it.
    if (log.error().code == ErrorCode::not_found && knows_some) return {};
    return base::fail(log.error());
  }
  if (cursor.unplaced > 0) return {};
  const uint64_t end = log->begin + log->text.size();
  const uint64_t from = std::clamp(cursor.position.value_or(0), log->begin, end);
  if (from < end) sink(std::string_view(log->text).substr(from - log->begin));
  cursor.position = std::max(cursor.position.value_or(0), end);
  return {};
}

Result<void> Vm::Impl::follow_log(LogSource source, const LogSink& sink, const Limits& limits) {
  LogCursor cursor;
  bool has_rest = true;
  for (;;) {
    if (auto ok = limits.check(kFollowLog); !ok) return ok;
    const uint64_t before = cursor.position.value_or(0);
    if (const auto session = worker_session()) {
      has_rest = true;
      const auto followed = follow_worker(*session, source, cursor, sink, limits);
      if (!followed && !session->client->ending()) return followed;
    } else if (const VmState now = guest_state(); !has_worker(now)) {
      const bool is_over = now == VmState::terminated;
      if (has_rest || is_over) {
        if (auto ok = pass_on_rest(source, cursor, sink); !ok) return ok;
      }
      if (is_over) return {};
      has_rest = false;
    }
    if (cursor.position.value_or(0) == before) std::this_thread::sleep_for(kAsleepPause);
  }
}

}  // namespace microvm
