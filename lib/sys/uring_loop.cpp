#include "sys/uring_loop.hpp"

#include <poll.h>

#include <algorithm>

#include "sys/low_fds.hpp"
#include "sys/uring_restrictions.hpp"

namespace microvm::sys {
namespace {

using std::chrono::nanoseconds;

constexpr unsigned kRingEntries = 128;

// The low two bits of the user data say what completed. Nobody waits for a cancelling or for the
// raising of an eventfd.
enum class Tag : uint64_t { poll = 0, file = 1, unheeded = 2, count = 3 };
constexpr uint64_t kTagMask = 3;

// With many operations under way: how long the first may wait for others, and how many at most.
constexpr nanoseconds kGatherTime = std::chrono::microseconds(20);
constexpr size_t kMostGathered = 8;

constexpr uint64_t kOne = 1;  // what is added to an eventfd; outlives every write of it

uint64_t watch_data(Loop::WatchId id, uint16_t generation, Tag tag) {
  return id << 18 | static_cast<uint64_t>(generation) << 2 | static_cast<uint64_t>(tag);
}

uint64_t file_data(uint64_t op) {
  return op << 2 | static_cast<uint64_t>(Tag::file);
}

// A multishot poll goes on after this completion.
bool has_more(const io_uring_cqe& cqe) {
  return (cqe.flags & IORING_CQE_F_MORE) != 0;
}

__kernel_timespec to_timespec(nanoseconds limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  return {seconds.count(), (limit - seconds).count()};
}

}  // namespace

Result<std::unique_ptr<Loop>> UringLoop::create() {
  std::unique_ptr<UringLoop> loop(new UringLoop);
  if (auto opened = loop->open_ring(); !opened) return base::fail(opened.error());
  if (auto opened = loop->open_wakeup(); !opened) return base::fail(opened.error());
  return loop;
}

// The best the kernel has: 6.1 runs completions only when we ask (DEFER_TASKRUN), 5.19 at least
// without interrupting us. A ring starts disabled so that the thread that runs it becomes its one
// submitter, not the one that made it.
Result<void> UringLoop::open_ring() {
  const LowFdsHeld held;
  int error = -EINVAL;
  for (const unsigned flags :
       {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0U}) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_R_DISABLED;
    error = io_uring_queue_init_params(kRingEntries, &ring_, &params);
    if (error == -EINVAL) continue;
    if (error < 0) break;
    open_ = true;
    // Multishot polls have no feature bit; resource tags came with the same kernel.
    constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP |
                                 IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RSRC_TAGS;
    if ((params.features & kNeeded) != kNeeded) {
      return base::fail(ErrorCode::unsupported, "io_uring: the kernel is older than 5.13");
    }
    restrict_ring(ring_);  // where it cannot be, the ring still does what we ask
    return {};
  }
  return base::fail_errno("set up io_uring", -error);
}

UringLoop::~UringLoop() {
  if (!open_) return;
  if (enabled_) drain();
  io_uring_queue_exit(&ring_);
}

// The kernel writes into buffers until an operation completes, so the loop outlives them all. When
// the thread that ran the loop has ended the kernel has already seen to that and enter() is
// refused.
void UringLoop::drain() {
  // What was already given up has to be cancelled as well: a multishot poll ends by nothing else.
  std::erase_if(pending_, [](const Pending& next) { return next.kind != Pending::Kind::cancel; });
  for (auto& [id, watch] : watches_) {
    cancel_poll(id, *watch);
  }
  while (io_in_kernel_ + polls_in_kernel_ + counts_in_kernel_.size() > 0) {
    flush();
    const int entered = io_uring_submit_and_wait(&ring_, 1);
    if (entered < 0 && entered != -EINTR && entered != -EBUSY && entered != -EAGAIN) return;
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const auto tag = static_cast<Tag>(cqe->user_data & kTagMask);
      if (tag == Tag::file) --io_in_kernel_;
      if (tag == Tag::poll && !has_more(*cqe)) --polls_in_kernel_;
      if (tag == Tag::count) counts_in_kernel_.erase(cqe->user_data);
      io_uring_cqe_seen(&ring_, cqe);
    }
  }
}

Loop::WatchId UringLoop::watch(int fd, uint32_t poll_events, FdHandler handler) {
  const WatchId id = next_watch_++;
  auto watch = std::make_shared<Watch>();
  watch->fd = fd;
  watch->wanted = poll_events;
  watch->handler = std::move(handler);
  arm_later(id, *watch);
  watches_.emplace(id, std::move(watch));
  return id;
}

void UringLoop::rearm(WatchId id, uint32_t poll_events) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  Watch& watch = *found->second;
  watch.wanted = poll_events;
  // A poll that waits for more than is wanted stays: what it reports is filtered. A multishot one
  // would not report that again when it is wanted.
  const uint32_t served = watch.changes_only ? watch.armed : watch.armed & poll_events;
  if (served == poll_events) return;
  cancel_poll(id, watch);
  arm_later(id, watch);
}

void UringLoop::unwatch(WatchId id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  found->second->wanted = 0;
  cancel_poll(id, *found->second);
  watches_.erase(found);
}

Loop::WatchId UringLoop::watch_counter(int eventfd, CountHandler handler) {
  const WatchId id = watch(eventfd, POLLIN, nullptr);
  watches_.at(id)->count_handler = std::move(handler);
  return id;
}

void UringLoop::arm_later(WatchId id, Watch& watch) {
  if (watch.wanted == 0 || watch.armed != 0 || watch.queued || watch.running) return;
  watch.queued = true;
  pending_.push_back({Pending::Kind::arm, id});
}

void UringLoop::cancel_poll(WatchId id, Watch& watch) {
  if (watch.armed == 0) return;
  pending_.push_back({Pending::Kind::cancel, user_data_of(id, watch)});
  watch.armed = 0;
}

uint64_t UringLoop::user_data_of(WatchId id, const Watch& watch) {
  return watch_data(id, watch.generation, watch.count_handler ? Tag::count : Tag::poll);
}

void UringLoop::read_file(int fd, std::span<const iovec> buffers, uint64_t offset, IoHandler done) {
  start(FileOp::Kind::read, fd, buffers, offset, std::move(done));
}

void UringLoop::write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                           IoHandler done) {
  start(FileOp::Kind::write, fd, buffers, offset, std::move(done));
}

void UringLoop::sync_file(int fd, IoHandler done) {
  start(FileOp::Kind::sync, fd, {}, 0, std::move(done));
}

void UringLoop::start(FileOp::Kind kind, int fd, std::span<const iovec> buffers, uint64_t offset,
                      IoHandler done) {
  if (free_ops_.empty()) {
    free_ops_.push_back(ops_.size());
    ops_.push_back(std::make_unique<FileOp>());
  }
  const OpIndex index = free_ops_.back();
  free_ops_.pop_back();
  ops_[index]->start(kind, fd, buffers, offset, std::move(done));
  ++io_in_flight_;
  pending_.push_back({Pending::Kind::file, index});
}

void UringLoop::wait(std::optional<nanoseconds> limit) {
  enable();
  flush();
  enter(limit);
}

void UringLoop::dispatch() {
  // No more than is there now: a socket that is always ready must not keep timers from running.
  for (unsigned left = io_uring_cq_ready(&ring_); left > 0; --left) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) return;  // a nested run_once() took them
    const uint64_t user_data = cqe->user_data;
    const int32_t result = cqe->res;
    const bool more = has_more(*cqe);
    io_uring_cqe_seen(&ring_, cqe);
    report(user_data, result, more);
  }
}

void UringLoop::enable() {
  if (enabled_) return;
  enabled_ = io_uring_enable_rings(&ring_) == 0;
}

// Errors here (EINTR, ETIME, EBUSY, EAGAIN) all mean: look at what completed, come back. Raising an
// eventfd completes at once and is nothing to come back for.
void UringLoop::enter(std::optional<nanoseconds> limit) {
  const unsigned several = worth_waiting_for();
  const unsigned enough = several + std::exchange(raised_in_ring_, 0);
  if (several > 1) limit = std::min(limit.value_or(kGatherTime), kGatherTime);
  if (io_uring_cq_ready(&ring_) > 0) limit = nanoseconds(0);
  if (!limit) {
    io_uring_submit_and_wait(&ring_, enough);
  } else if (limit->count() == 0) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    io_uring_cqe* cqe = nullptr;
    __kernel_timespec time = to_timespec(*limit);
    io_uring_submit_and_wait_timeout(&ring_, &cqe, enough, &time, nullptr);
  }
}

// Half of the operations under way, for the other half to go on meanwhile: one wait, one round and
// one interrupt of a guest for several completions. Once for what was begun, so that a slow disk
// does not make us look again and again.
unsigned UringLoop::worth_waiting_for() {
  if (!std::exchange(new_io_, false)) return 1;
  return static_cast<unsigned>(std::clamp<size_t>(io_in_kernel_ / 2, 1, kMostGathered));
}

// A guest waits for these: they come first.
void UringLoop::prepare_raised() {
  if (io_uring_sq_space_left(&ring_) < raised().size()) io_uring_submit(&ring_);
  if (io_uring_sq_space_left(&ring_) < raised().size()) return flush_raised();
  for (const int eventfd : std::exchange(raised(), {})) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    io_uring_prep_write(sqe, eventfd, &kOne, sizeof kOne, 0);
    io_uring_sqe_set_data64(sqe, static_cast<uint64_t>(Tag::unheeded));
    ++raised_in_ring_;
  }
}

void UringLoop::flush() {
  prepare_raised();
  while (!pending_.empty()) {
    if (io_uring_sq_space_left(&ring_) == 0) io_uring_submit(&ring_);
    if (io_uring_sq_space_left(&ring_) == 0) return;  // the kernel takes no more for now
    const Pending next = pending_.front();
    pending_.pop_front();
    switch (next.kind) {
      case Pending::Kind::arm:
        arm(next.value);
        break;
      case Pending::Kind::cancel: {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        io_uring_prep_cancel64(sqe, next.value, 0);
        io_uring_sqe_set_data64(sqe, static_cast<uint64_t>(Tag::unheeded));
        break;
      }
      case Pending::Kind::file:
        prepare(next.value);
        break;
    }
  }
}

void UringLoop::arm(WatchId id) {
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  Watch& watch = *found->second;
  watch.queued = false;
  if (watch.wanted == 0 || watch.armed != 0) return;
  watch.armed = watch.wanted;
  ++watch.generation;
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  const uint64_t user_data = user_data_of(id, watch);
  if (watch.count_handler) {
    io_uring_prep_read(sqe, watch.fd, &watch.count, sizeof watch.count, 0);
    counts_in_kernel_.emplace(user_data, found->second);
  } else {
    prepare_poll(*sqe, watch);
    ++polls_in_kernel_;
  }
  io_uring_sqe_set_data64(sqe, user_data);
}

void UringLoop::prepare_poll(io_uring_sqe& sqe, const Watch& watch) {
  if (watch.changes_only) {
    io_uring_prep_poll_multishot(&sqe, watch.fd, watch.wanted);
  } else {
    io_uring_prep_poll_add(&sqe, watch.fd, watch.wanted);
  }
}

void UringLoop::prepare(OpIndex index) {
  constexpr size_t kMaxSingle = 1u << 30;  // the length field of a request has 32 bits
  FileOp& op = *ops_[index];
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  const auto list = op.rest();
  const bool single = list.size() == 1;
  const auto length = single ? static_cast<unsigned>(std::min(list[0].iov_len, kMaxSingle))
                             : static_cast<unsigned>(list.size());
  void* target = single ? list[0].iov_base : list.data();
  if (op.kind == FileOp::Kind::sync) {
    io_uring_prep_fsync(sqe, op.fd, IORING_FSYNC_DATASYNC);
  } else if (op.kind == FileOp::Kind::read) {
    io_uring_prep_rw(single ? IORING_OP_READ : IORING_OP_READV, sqe, op.fd, target, length,
                     op.offset);
  } else {
    io_uring_prep_rw(single ? IORING_OP_WRITE : IORING_OP_WRITEV, sqe, op.fd, target, length,
                     op.offset);
  }
  io_uring_sqe_set_data64(sqe, file_data(index));
  ++io_in_kernel_;
  new_io_ = true;
}

void UringLoop::report(uint64_t user_data, int32_t result, bool more) {
  switch (static_cast<Tag>(user_data & kTagMask)) {
    case Tag::poll:
      poll_done(user_data, result, more);
      break;
    case Tag::file:
      file_done(user_data >> 2, result);
      break;
    case Tag::count:
      count_done(user_data, result);
      break;
    case Tag::unheeded:
      break;
  }
}

void UringLoop::poll_done(uint64_t user_data, int32_t result, bool more) {
  if (!more) --polls_in_kernel_;
  const WatchId id = user_data >> 18;
  const auto found = watches_.find(id);
  if (found == watches_.end()) return;
  const std::shared_ptr<Watch> watch = found->second;  // the handler may unwatch itself
  if (user_data_of(id, *watch) != user_data || watch->armed == 0) return;
  const uint32_t seen = result < 0 ? POLLNVAL : static_cast<uint32_t>(result);
  const uint32_t events = watch->wanted == 0 ? 0 : seen & (watch->wanted | kAlwaysReported);
  if (more && events == 0) return;
  if (more) cancel_poll(id, *watch);  // the next one tells what is there after the handler
  watch->armed = 0;
  watch->changes_only = events == 0 && (seen & POLLRDHUP) != 0;
  if (events == POLLNVAL) watch->wanted = 0;  // a bad fd would be reported for ever
  if (events != 0) {
    watch->running = true;
    watch->handler(events);
    watch->running = false;
  }
  if (watches_.contains(id)) arm_later(id, *watch);
}

// A bad fd is not asked again.
void UringLoop::count_done(uint64_t user_data, int32_t result) {
  const auto read = counts_in_kernel_.extract(user_data);
  const WatchId id = user_data >> 18;
  if (read.empty() || !watches_.contains(id)) return;
  Watch& watch = *read.mapped();  // alive to the end, though the handler may unwatch itself
  watch.armed = 0;
  watch.running = true;
  if (result == sizeof watch.count) watch.count_handler(watch.count);
  watch.running = false;
  if (result > 0 || result == -EINTR) arm_later(id, watch);
}

void UringLoop::file_done(OpIndex index, int32_t result) {
  FileOp& op = *ops_[index];
  --io_in_kernel_;
  if (result == -EINTR || op.advance(result)) {
    pending_.push_back({Pending::Kind::file, index});
    return;
  }
  const int64_t total = result < 0 ? result : op.moved;
  const IoHandler done = std::move(op.done);
  op.done = nullptr;
  free_ops_.push_back(index);
  --io_in_flight_;
  if (done) done(total);
}

}  // namespace microvm::sys
