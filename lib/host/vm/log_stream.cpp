#include "host/vm/log_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include <utility>

#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::LogSearch;
using Piece = Result<std::optional<std::string>>;

namespace {

constexpr const char* kFollowLog = "follow the log";
constexpr size_t kPieceBytes = size_t{16} * 1024;
// A worker that is just starting or ending, or gives nothing.
constexpr std::chrono::milliseconds kSearchAgain{50};

Piece nothing_new() {
  return base::fail(ErrorCode::would_block, std::string(kFollowLog) + ": nothing was printed");
}

bool add_to_epoll(const base::Fd& epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

void take_from_epoll(const base::Fd& epoll, int fd) {
  static_cast<void>(::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr));
}

}  // namespace

LogStream::Impl::Impl(std::shared_ptr<Vm::Impl> what, LogSource source)
    : vm_(std::move(what)),
      search_(std::make_shared<LogSearch>(source, seen_)),
      ready_(::epoll_create1(EPOLL_CLOEXEC)) {}

Result<std::unique_ptr<LogStream::Impl>> LogStream::Impl::open(std::shared_ptr<Vm::Impl> vm,
                                                               LogSource source) {
  auto opened = std::make_unique<Impl>(std::move(vm), source);
  if (!*opened->seen_ || !opened->ready_ || !add_to_epoll(opened->ready_, opened->seen_->get())) {
    return base::fail_errno(std::string(kFollowLog) + ": epoll");
  }
  opened->search();
  return opened;
}

// One step: what is found is used here, what is not is searched elsewhere.
Piece LogStream::Impl::try_read() {
  if (is_over_) return std::nullopt;
  if (stream_) return read_worker();
  if (worker_) return leave_worker();
  seen_->clear();
  auto found = search_->take();
  if (!found) {
    search();
    return nothing_new();
  }
  if (*found) return std::visit([&](auto& what) { return use(std::move(what)); }, **found);
  seen_->raise();  // the next call searches again
  return base::fail(found->error());
}

// ---- with a worker -----------------------------------------------------------------------------

Piece LogStream::Impl::use(LogSearch::Stream stream) {
  const int fd = stream.fd.get();
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || !add_to_epoll(ready_, fd)) {
    const int error = errno;
    seen_->raise();
    if (error != EPERM) return base::fail_errno(std::string(kFollowLog) + ": epoll", error);
    return base::fail(ErrorCode::protocol, std::string(kFollowLog) + ": the worker sent no stream");
  }
  cursor_.begin_stream(stream.place);
  stream_ = std::move(stream.fd);
  worker_ = std::move(stream.client);
  watch_.reset();
  has_rest_ = true;
  return read_worker();
}

Piece LogStream::Impl::read_worker() {
  std::string piece(kPieceBytes, '\0');
  const ssize_t got = ::read(stream_.get(), piece.data(), piece.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return nothing_new();
  if (got > 0) {
    has_moved_ = true;
    piece.resize(static_cast<size_t>(got));
    piece.erase(0, piece.size() - cursor_.pass(piece).size());
    return piece.empty() ? nothing_new() : Piece(std::move(piece));
  }
  take_from_epoll(ready_, stream_.get());
  stream_.reset();
  return leave_worker();
}

// One that knows of no positions gives nothing to go on with before its end.
Piece LogStream::Impl::leave_worker() {
  if (!cursor_.has_position() && !worker_->ended()) {
    if (add_to_epoll(ready_, worker_->ended_fd())) return nothing_new();
  }
  take_from_epoll(ready_, worker_->ended_fd());
  worker_.reset();
  if (has_moved_) {
    search();
  } else {
    search_later();
  }
  return nothing_new();
}

// ---- without one -------------------------------------------------------------------------------

Piece LogStream::Impl::use(LogSearch::Rest rest) {
  std::string text = rest.log ? cursor_.pass_rest(*rest.log) : std::string();
  is_over_ = rest.is_over;
  has_rest_ = false;
  if (is_over_ || !text.empty()) seen_->raise();  // for good, or for the next search
  if (!text.empty()) return text;
  if (is_over_) return std::nullopt;
  if (!watch_) {
    watch_ = vm_->core->watches.watch(vm_->dir, {}, seen_);
    search();  // for what has changed before
  }
  return nothing_new();
}

Piece LogStream::Impl::use(LogSearch::Unsettled) {
  search_later();
  return nothing_new();
}

void LogStream::Impl::search() {
  if (!search_->begin(cursor_, has_rest_)) return;
  has_moved_ = false;
  vm_->find_log_later(search_);
}

void LogStream::Impl::search_later() {
  vm_->core->reactor->post([&reactor = *vm_->core->reactor, late = std::weak_ptr(seen_)] {
    reactor.loop().after(kSearchAgain, [late] {
      if (const auto seen = late.lock()) seen->raise();
    });
  });
}

// ---- the handle --------------------------------------------------------------------------------

LogStream::LogStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LogStream::LogStream(LogStream&&) noexcept = default;
LogStream& LogStream::operator=(LogStream&& other) noexcept {
  LogStream moved(std::move(other));
  impl_.swap(moved.impl_);
  return *this;
}
LogStream::~LogStream() {
  host::leave_unless_home(impl_);
}

int LogStream::fd() const noexcept {
  return impl_->fd();
}

Result<std::optional<std::string>> LogStream::try_read() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->try_read();
}

Result<std::optional<std::string>> LogStream::read(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const host::Limits whole(limits);
  for (;;) {
    if (auto ok = whole.check(kFollowLog); !ok) return base::fail(ok.error());
    auto piece = impl_->try_read();
    if (piece || piece.error().code != ErrorCode::would_block) return piece;
    if (auto ok = whole.wait(impl_->fd(), POLLIN, kFollowLog); !ok) return base::fail(ok.error());
  }
}

}  // namespace microvm
