#include "host/vm/flow_stream.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <utility>

#include "host/vm/vm_impl.hpp"

namespace microvm {

namespace {

constexpr const char* kReadFlows = "read the flows";

base::Failure no_flow_now() {
  return host::Limits::would_block(kReadFlows);
}

bool watch_readable(const base::Fd& epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

FlowStream::Impl::Impl(std::shared_ptr<Vm::Impl> what)
    : vm_(std::move(what)), ready_(::epoll_create1(EPOLL_CLOEXEC)) {}

Result<std::unique_ptr<FlowStream::Impl>> FlowStream::Impl::open(std::shared_ptr<Vm::Impl> vm) {
  auto opened = std::make_unique<Impl>(std::move(vm));
  const auto end = opened->vm_->end_fd();
  if (!end) return base::fail(end.error());
  opened->end_ = *end;
  const bool is_ready = *opened->seen_ && opened->ready_ &&
                        watch_readable(opened->ready_, opened->seen_->get()) &&
                        watch_readable(opened->ready_, opened->end_);
  if (!is_ready) return base::fail_errno(std::string(kReadFlows) + ": epoll");
  // So that what happens from now on is told: one that runs is asked here.
  auto first = opened->find_client();
  if (!first && first.error().code != ErrorCode::would_block) return base::fail(first.error());
  return opened;
}

FlowStream::Impl::Next FlowStream::Impl::try_next() {
  return client_ ? read_client() : find_client();
}

FlowStream::Impl::Next FlowStream::Impl::read_client() {
  auto record = client_->next_flow();
  if (record) return host::to_flow_record(*record);
  if (record.error().code == ErrorCode::would_block) return base::fail(record.error());
  client_.reset();  // the epoll forgets what is closed
  seen_->raise();   // the next call looks for another one
  if (record.error().code == ErrorCode::vm_gone) return no_flow_now();
  return base::fail(record.error());
}

// The watch is there before the look, so that none is missed.
FlowStream::Impl::Next FlowStream::Impl::find_client() {
  seen_->clear();
  if (!watch_) watch_ = vm_->core->watches.watch(vm_->dir, wire::kNetSocket, seen_);
  if (is_over()) return std::nullopt;
  auto client = host::NetClient::connect(vm_->dir);
  if (!client && client.error().code == ErrorCode::not_found)
    return no_flow_now();  // it was removed
  if (!client) return base::fail(client.error());
  if (!*client) return no_flow_now();
  if (auto ok = (*client)->begin_flow_log(); !ok) return no_flow_now();  // it is just ending
  if (!watch_readable(ready_, (*client)->fd())) {
    return base::fail_errno(std::string(kReadFlows) + ": epoll");
  }
  client_ = std::move(*client);
  watch_.reset();
  return read_client();
}

bool FlowStream::Impl::is_over() const {
  pollfd end{end_, POLLIN, 0};
  return ::poll(&end, 1, 0) == 1;
}

// ---- the handle --------------------------------------------------------------------------------

FlowStream::FlowStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FlowStream::FlowStream(FlowStream&&) noexcept = default;
FlowStream& FlowStream::operator=(FlowStream&& other) noexcept {
  FlowStream moved(std::move(other));
  impl_.swap(moved.impl_);
  return *this;
}
FlowStream::~FlowStream() {
  host::leave_unless_home(impl_);
}

int FlowStream::fd() const noexcept {
  return impl_->fd();
}

Result<std::optional<FlowRecord>> FlowStream::try_next() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->try_next();
}

Result<std::optional<FlowRecord>> FlowStream::next(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const host::Limits whole(limits);
  for (;;) {
    if (auto ok = whole.check(kReadFlows); !ok) return base::fail(ok.error());
    auto record = impl_->try_next();
    if (record || record.error().code != ErrorCode::would_block) return record;
    if (auto ok = whole.wait(fd(), POLLIN, kReadFlows); !ok) return base::fail(ok.error());
  }
}

}  // namespace microvm
