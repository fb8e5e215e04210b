#include "sys/plain_loop.hpp"

#include <poll.h>
#include <sys/uio.h>

#include <cerrno>

namespace microvm::sys {
namespace {

using std::chrono::nanoseconds;

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
              EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP);

// Rounded up: a wait must not end just before the timer it was for.
int to_milliseconds(std::optional<nanoseconds> limit) {
  if (!limit) return -1;
  constexpr int64_t kLongest = 1'000'000'000;
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(*limit).count();
  return static_cast<int>(std::min<int64_t>(rounded, kLongest));
}

// A read of what is in memory already: the number of bytes; empty when it would wait for a disk, or
// at the end of a file, where a short count says nothing.
std::optional<int64_t> read_at_once(const FileOp& op, std::span<iovec> list) {
  if (op.kind != FileOp::Kind::read || list.size() < op.buffers.size() - op.next) return {};
  size_t wanted = 0;
  for (const iovec& buffer : list) wanted += buffer.iov_len;
  const ssize_t got = ::preadv2(op.fd, list.data(), static_cast<int>(list.size()),
                                static_cast<off_t>(op.offset), RWF_NOWAIT);
  if (got < 0 || static_cast<size_t>(got) != wanted) return std::nullopt;
  return got;
}

// The whole operation. The number of bytes or -errno.
int64_t run_blocking(FileOp& op) {
  if (op.kind == FileOp::Kind::sync) return ::fdatasync(op.fd) == 0 ? 0 : -errno;
  while (true) {
    const auto list = op.rest();
    const auto count = static_cast<int>(list.size());
    const auto offset = static_cast<off_t>(op.offset);
    const ssize_t result = op.kind == FileOp::Kind::read
                               ? ::preadv(op.fd, list.data(), count, offset)
                               : ::pwritev(op.fd, list.data(), count, offset);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return -errno;
    if (!op.advance(result)) return op.moved;
  }
}

}  // namespace

Result<std::unique_ptr<Loop>> PlainLoop::create() {
  std::unique_ptr<PlainLoop> loop(new PlainLoop);
  loop->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_) return base::fail_errno("create epoll instance");
  if (auto opened = loop->open_wakeup(); !opened) return base::fail(opened.error());
  return loop;
}

Loop::WatchId PlainLoop::watch(int fd, uint32_t poll_events, FdHandler handler) {
  const WatchId id = next_watch_++;
  auto watch = std::make_shared<Watch>();
  watch->fd = fd;
  watch->wanted = poll_events;
  watch->handler = std::move(handler);
  apply(id, *watch);
  watches_.emplace(id, std::move(watch));
  return id;
}

void PlainLoop::rearm(WatchId id, uint32_t poll_events) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  found->second->wanted = poll_events;
  if (!found->second->running) apply(id, *found->second);
}

void PlainLoop::unwatch(WatchId id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  found->second->wanted = 0;
  apply(id, *found->second);
  watches_.erase(found);
}

// It is readable, so the read does not block.
Loop::WatchId PlainLoop::watch_counter(int eventfd, CountHandler handler) {
  return watch(eventfd, POLLIN, [eventfd, handler = std::move(handler)](uint32_t events) {
    uint64_t count = 0;
    if ((events & POLLIN) == 0) return;
    if (::read(eventfd, &count, sizeof count) == sizeof count) handler(count);
  });
}

// Tells epoll what the watch wants now. With nothing wanted the fd leaves the set, because epoll
// reports hang-ups even for an empty mask.
void PlainLoop::apply(WatchId id, Watch& watch) {
  if (watch.wanted == watch.armed) return;
  epoll_event event{};
  event.events = watch.wanted;
  event.data.u64 = id;
  const int what = watch.wanted == 0  ? EPOLL_CTL_DEL
                   : watch.armed == 0 ? EPOLL_CTL_ADD
                                      : EPOLL_CTL_MOD;
  const bool ok = watch.always == 0 && ::epoll_ctl(epoll_.get(), what, watch.fd, &event) == 0;
  if (!ok && what == EPOLL_CTL_ADD) refused(id, watch, errno);
  watch.armed = watch.wanted;
}

// Regular files are ready at any time, as poll() says; a bad fd is reported once.
void PlainLoop::refused(WatchId id, Watch& watch, int error) {
  if (watch.always == 0) always_ready_.push_back(id);
  if (watch.always == 0) watch.always = error == EPERM ? POLLIN | POLLOUT : POLLNVAL;
}

void PlainLoop::wait(std::optional<nanoseconds> limit) {
  if (!always_ready_.empty()) limit = nanoseconds(0);
  flush_raised();
  if (next_ready_ == ready_count_) poll(limit);
}

void PlainLoop::dispatch() {
  while (next_ready_ < ready_count_) {
    const epoll_event event = ready_[next_ready_++];
    report_ready(event.data.u64, event.events);
  }
  run_always_ready();
}

void PlainLoop::poll(std::optional<nanoseconds> limit) {
  const int count = ::epoll_wait(epoll_.get(), ready_.data(), static_cast<int>(ready_.size()),
                                 to_milliseconds(limit));
  next_ready_ = 0;
  ready_count_ = count > 0 ? static_cast<size_t>(count) : 0;
}

void PlainLoop::report_ready(WatchId id, uint32_t seen) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  const std::shared_ptr<Watch> watch = found->second;  // the handler may unwatch itself
  const uint32_t events = watch->wanted == 0 ? 0 : seen & (watch->wanted | kAlwaysReported);
  if (events == 0) return;
  if (watch->running) {  // inside a nested run_once(): quiet until the handler has returned
    const uint32_t wanted = std::exchange(watch->wanted, 0);
    apply(id, *watch);
    watch->wanted = wanted;
    return;
  }
  if (events == POLLNVAL) watch->wanted = 0;
  watch->running = true;
  watch->handler(events);
  watch->running = false;
  if (watches_.contains(id)) apply(id, *watch);
}

void PlainLoop::run_always_ready() {
  if (always_ready_.empty()) return;
  const std::vector<WatchId> now = always_ready_;
  for (const WatchId id : now) {
    const auto found = watches_.find(id);
    if (found != watches_.end()) report_ready(id, found->second->always);
  }
  std::erase_if(always_ready_, [this](WatchId id) {
    const auto found = watches_.find(id);
    return found == watches_.end() || found->second->always == POLLNVAL;
  });
}

void PlainLoop::read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) {
  start(FileOp::Kind::read, fd, buffers, offset, std::move(done));
}

void PlainLoop::write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                           IoHandler done) {
  start(FileOp::Kind::write, fd, buffers, offset, std::move(done));
}

void PlainLoop::sync_file(int fd, IoHandler done) {
  start(FileOp::Kind::sync, fd, {}, 0, std::move(done));
}

void PlainLoop::start(FileOp::Kind kind, int fd, std::span<const iovec> buffers, uint64_t offset,
                      IoHandler done) {
  auto op = std::make_shared<FileOp>();
  op->start(kind, fd, buffers, offset, std::move(done));
  ++io_in_flight_;
  if (const auto got = read_at_once(*op, op->rest())) return report(op, *got);
  const bool taken = file_threads_.run([this, op] { report(op, run_blocking(*op)); });
  if (!taken) post([this, op] { report(op, run_blocking(*op)); });
}

// From any thread; the handler runs on the loop's.
void PlainLoop::report(const std::shared_ptr<FileOp>& op, int64_t result) {
  post([this, op, result] {
    --io_in_flight_;
    if (op->done) op->done(result);
  });
}

}  // namespace microvm::sys
