// LogStream: the public handle over what a worker gives of a log, and over the times without one.
#pragma once

#include <memory>
#include <optional>

#include "host/base/home_process.hpp"
#include "host/vm/log_search.hpp"
#include "host/worker/directory_watches.hpp"
#include "microvm/log_stream.hpp"
#include "microvm/vm.hpp"

namespace microvm {

struct [[gnu::visibility("hidden")]] LogStream::Impl {
  // Errors: io (no more fds).
  static Result<std::unique_ptr<Impl>> open(std::shared_ptr<Vm::Impl> vm, LogSource source);
  Impl(std::shared_ptr<Vm::Impl> what, LogSource source);

  using Piece = Result<std::optional<std::string>>;
  Piece try_read();
  [[nodiscard]] int fd() const { return ready_.get(); }

  const host::HomeProcess home;

 private:
  Piece read_worker();
  Piece leave_worker();
  Piece use(host::LogSearch::Stream stream);
  Piece use(host::LogSearch::Rest rest);
  Piece use(host::LogSearch::Unsettled);
  void search();
  void search_later();

  const std::shared_ptr<Vm::Impl> vm_;
  // Raised when a look may find something other than the stream's own bytes.
  const std::shared_ptr<const sys::EventFd> seen_ = std::make_shared<const sys::EventFd>();
  const std::shared_ptr<host::LogSearch> search_;
  const base::Fd ready_;  // an epoll: `seen_`, and the stream or the end of its worker
  host::LogCursor cursor_;
  base::Fd stream_;
  std::shared_ptr<host::ControlClient> worker_;  // of the stream; kept until the worker has ended
  std::unique_ptr<host::DirectoryWatches::Watch> watch_;  // while there is no worker
  bool has_rest_ = true;                                  // of the worker, for the time without one
  bool has_moved_ = false;                                // since the last search was begun
  bool is_over_ = false;
};

}  // namespace microvm
