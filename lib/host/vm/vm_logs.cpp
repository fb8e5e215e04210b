// The logs of a Vm: what is kept of them, and where one goes on.
#include "host/saved/vm_logs.hpp"

#include <thread>
#include <utility>

#include "host/vm/log_stream.hpp"
#include "host/vm/vm_impl.hpp"
#include "host/worker/read_stream.hpp"
#include "wire/log_size.hpp"

namespace microvm {

using host::Limits;
using host::LogSearch;
using host::LogText;

namespace {

constexpr std::string_view kReadLog = "read the log";
constexpr std::chrono::seconds kLogLimit{10};
// A worker that is just starting or ending: so often, then what it left is looked at.
constexpr std::chrono::milliseconds kLogSettlePause{10};
constexpr int kLogSettleAttempts = 200;

wire::LogsRequest::Which wire_source(LogSource source) {
  return source == LogSource::app ? wire::LogsRequest::Which::app
                                  : wire::LogsRequest::Which::kernel;
}

bool has_worker(VmState state) {
  return state != VmState::suspended && state != VmState::terminated;
}

}  // namespace

Result<std::string> Vm::logs(LogSource source, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->read_log(source, Limits(limits, kLogLimit));
}

Result<LogStream> Vm::follow_logs(LogSource source, const CallLimits& limits) {
  if (auto ok = impl_->core->home.check(limits); !ok) return base::fail(ok.error());
  if (auto ok = Limits(limits).check("follow the log"); !ok) return base::fail(ok.error());
  auto opened = LogStream::Impl::open(impl_, source);
  if (!opened) return base::fail(opened.error());
  return LogStream(std::move(*opened));
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

// The errand of a search; one that is dropped unstarted lets the follower try again.
class Vm::Impl::LogErrand {
 public:
  LogErrand(std::weak_ptr<Impl> vm, std::shared_ptr<LogSearch> search)
      : vm_(std::move(vm)), search_(std::move(search)) {}
  ~LogErrand() {
    if (search_) search_->deliver(LogSearch::Unsettled{});
  }
  LogErrand(const LogErrand&) = delete;
  LogErrand& operator=(const LogErrand&) = delete;

  void run() {
    const auto search = std::exchange(search_, nullptr);
    if (const auto vm = vm_.lock()) vm->find_log(search);
  }

 private:
  const std::weak_ptr<Impl> vm_;
  std::shared_ptr<LogSearch> search_;
};

void Vm::Impl::find_log_later(const std::shared_ptr<LogSearch>& search) {
  const auto errand = std::make_shared<LogErrand>(weak_from_this(), search);
  // Without a Runtime there are no errands, and who follows waits.
  if (!core->errands.add([errand] { errand->run(); })) errand->run();
}

void Vm::Impl::find_log(const std::shared_ptr<LogSearch>& search) {
  if (const auto session = worker_session()) return search->ask(*core->reactor, session->client);
  const VmState now = guest_state();
  if (has_worker(now)) return search->deliver(LogSearch::Unsettled{});
  LogSearch::Rest rest{.log = {}, .is_over = now == VmState::terminated};
  if (!rest.is_over && !search->wants_rest()) return search->deliver(std::move(rest));
  auto log = read_log_at_rest(search->source());
  // Another process may have removed it.
  const bool is_gone = !log && log.error().code == ErrorCode::not_found;
  if (!log && !(is_gone && search->cursor().has_begun())) {
    return search->deliver(base::fail(log.error()));
  }
  if (log) rest.log = std::move(*log);
  search->deliver(std::move(rest));
}

}  // namespace microvm
