// The search for where a log goes on: with what worker, or at what its Vm has left. It takes the
// disk, a process that ends and a worker that is asked, so an errand and the reactor carry it, and
// whoever follows the log waits for an fd.
#pragma once

#include <memory>
#include <optional>
#include <variant>

#include "base/thread_annotations.hpp"
#include "host/vm/log_cursor.hpp"
#include "host/worker/control_client.hpp"
#include "host/worker/reactor.hpp"
#include "sys/event_fd.hpp"

namespace microvm::host {

// Held by shared_ptr, by who follows and by who searches; thread-safe. It holds no Vm.
class LogSearch : public std::enable_shared_from_this<LogSearch> {
 public:
  struct Stream {
    base::Fd fd;
    std::optional<wire::LogsReply> place;  // none: the worker knows of no positions
    std::shared_ptr<ControlClient> client;
  };
  struct Rest {  // the Vm has no worker
    std::optional<LogText> log;
    bool is_over = false;  // and will have none
  };
  struct Unsettled {};  // a worker comes or goes
  using Found = std::variant<Stream, Rest, Unsettled>;

  LogSearch(LogSource source, std::shared_ptr<const sys::EventFd> seen)
      : source_(source), seen_(std::move(seen)) {}

  // ---- by who follows ----
  // From here on a result is under way. False: one was, or is there.
  bool begin(const LogCursor& cursor, bool wants_rest) MICROVM_EXCLUDES(mutex_);
  // Once it is there.
  std::optional<Result<Found>> take() MICROVM_EXCLUDES(mutex_);

  // ---- by who searches ----
  [[nodiscard]] LogSource source() const { return source_; }
  [[nodiscard]] bool wants_rest() const MICROVM_EXCLUDES(mutex_);
  [[nodiscard]] LogCursor cursor() const MICROVM_EXCLUDES(mutex_);
  // Raises `seen`. Without effect when nobody searches.
  void deliver(Result<Found> found) MICROVM_EXCLUDES(mutex_);
  // Delivers what the worker answers; returns at once.
  void ask(Reactor& reactor, const std::shared_ptr<ControlClient>& client);

 private:
  void ask_from(const std::shared_ptr<ControlClient>& client, uint64_t from, bool again);
  void on_reply(const std::shared_ptr<ControlClient>& client, Result<ControlClient::Reply> reply,
                bool again);

  const LogSource source_;
  const std::shared_ptr<const sys::EventFd> seen_;
  mutable base::Mutex mutex_;
  bool under_way_ MICROVM_GUARDED_BY(mutex_) = false;
  bool wants_rest_ MICROVM_GUARDED_BY(mutex_) = false;
  LogCursor cursor_ MICROVM_GUARDED_BY(mutex_);
  std::optional<Result<Found>> found_ MICROVM_GUARDED_BY(mutex_);
};

}  // namespace microvm::host
