#include "host/vm/vm_starts.hpp"

#include <poll.h>

#include <utility>

#include "host/vm/core.hpp"
#include "host/vm/owned_vms.hpp"
#include "host/vm/vm_impl.hpp"

namespace microvm {

using host::Limits;
using StartedVm = Result<std::shared_ptr<Vm::Impl>>;

namespace {

constexpr const char* kStart = "start a microvm";
constexpr const char* kCancelled = "start a microvm: it was cancelled";
constexpr const char* kRuntimeEnded = "start a microvm: its runtime has ended";

}  // namespace

// ---- one start ---------------------------------------------------------------------------------

void VmStart::Impl::carry_out(host::VmStarts& starts) {
  host::VmStarts::Work work;
  {
    const base::MutexLock lock(mutex_);
    if (result_) return;  // cancelled before its turn
    work = std::exchange(work_, nullptr);
  }
  if (const auto unwanted = deliver(work({.cancel = &token_, .timeout = {}}))) starts.end(unwanted);
}

std::shared_ptr<Vm::Impl> VmStart::Impl::deliver(StartedVm result) {
  const base::MutexLock lock(mutex_);
  if (result_) return result ? std::move(*result) : nullptr;
  finish(std::move(result));
  return nullptr;
}

void VmStart::Impl::finish(StartedVm result) {
  result_ = std::move(result);
  over_.raise();
}

bool VmStart::Impl::give_up(const char* why) {
  host::VmStarts::Work unused;  // dropped without the lock, as what it holds
  {
    const base::MutexLock lock(mutex_);
    if (result_) return false;
    unused = std::exchange(work_, nullptr);
    finish(base::fail(ErrorCode::cancelled, why));
  }
  token_.cancel();
  return true;
}

void VmStart::Impl::cancel() {
  if (give_up(kCancelled)) return;
  std::shared_ptr<Vm::Impl> unwanted;
  {
    const base::MutexLock lock(mutex_);
    if (!*result_ || !**result_) return;  // it failed, or was taken
    unwanted = std::move(**result_);
    result_ = base::fail(ErrorCode::cancelled, kCancelled);
  }
  unwanted->core->starts.end_later(unwanted);
}

Result<Vm> VmStart::Impl::try_take() {
  const base::MutexLock lock(mutex_);
  if (!result_) {
    return base::fail(ErrorCode::would_block, std::string(kStart) + ": it is not through yet");
  }
  if (!*result_) return base::fail(result_->error());
  auto vm = std::exchange(**result_, nullptr);
  if (vm) return Vm(std::move(vm));
  return base::fail(ErrorCode::invalid_argument, std::string(kStart) + ": it was taken before");
}

// ---- the handle --------------------------------------------------------------------------------

VmStart::VmStart(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
VmStart::VmStart(VmStart&&) noexcept = default;
VmStart& VmStart::operator=(VmStart&& other) noexcept {
  if (this == &other) return *this;
  if (impl_) cancel();
  impl_ = std::move(other.impl_);
  return *this;
}
VmStart::~VmStart() {
  if (impl_) cancel();
}

Result<Vm> VmStart::take(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const Limits whole(limits);
  for (;;) {
    if (auto ok = whole.check(kStart); !ok) return base::fail(ok.error());
    auto vm = impl_->try_take();
    if (vm || vm.error().code != ErrorCode::would_block) return vm;
    if (auto ok = whole.wait(impl_->fd(), POLLIN, kStart); !ok) return base::fail(ok.error());
  }
}

Result<Vm> VmStart::try_take() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->try_take();
}

void VmStart::cancel() noexcept {
  if (impl_->home.is_here()) impl_->cancel();
}

int VmStart::fd() const noexcept {
  return impl_->fd();
}

// ---- those of a Runtime ------------------------------------------------------------------------

namespace host {

// A Vm that is removed once, also when the errand for it is dropped unstarted.
class VmStarts::Unwanted {
 public:
  Unwanted(VmStarts& starts, std::shared_ptr<Vm::Impl> vm) : starts_(starts), vm_(std::move(vm)) {}
  ~Unwanted() { end(); }
  Unwanted(const Unwanted&) = delete;
  Unwanted& operator=(const Unwanted&) = delete;

  // The last of it, which may be the last of the Core too.
  void end() {
    if (const auto vm = std::exchange(vm_, nullptr)) starts_.end(vm);
  }

 private:
  VmStarts& starts_;
  std::shared_ptr<Vm::Impl> vm_;
};

Result<std::shared_ptr<VmStart::Impl>> VmStarts::add(Work work) {
  auto start = make_at_home<VmStart::Impl>(std::move(work));
  if (start->fd() < 0) return base::fail_errno(std::string(kStart) + ": eventfd", EMFILE);
  const uint64_t number = note(start);
  const bool will_be_done = errands_.add([this, start, number] {
    start->carry_out(*this);
    forget(number);
  });
  if (will_be_done) return start;
  forget(number);
  return base::fail(ErrorCode::out_of_memory, std::string(kStart) + ": no thread to do it");
}

uint64_t VmStarts::note(const std::shared_ptr<VmStart::Impl>& start) {
  const base::MutexLock lock(mutex_);
  pending_.emplace(++last_, start);
  return last_;
}

void VmStarts::forget(uint64_t number) {
  const base::MutexLock lock(mutex_);
  pending_.erase(number);
}

void VmStarts::end_later(std::shared_ptr<Vm::Impl> vm) {
  const auto unwanted = std::make_shared<Unwanted>(*this, std::move(vm));
  static_cast<void>(errands_.add([unwanted] { unwanted->end(); }));
}

void VmStarts::end(const std::shared_ptr<Vm::Impl>& vm) {
  const auto removed = vm->remove();
  if (!removed) vm->core->log(removed.error().message);
  owned_.forget(vm->record.id);
}

void VmStarts::stop() {
  std::map<uint64_t, std::weak_ptr<VmStart::Impl>> pending;
  {
    const base::MutexLock lock(mutex_);
    pending.swap(pending_);
  }
  // The last one first: none has its turn for the end of one before it.
  for (auto it = pending.rbegin(); it != pending.rend(); ++it) {
    if (const auto start = it->second.lock()) start->give_up(kRuntimeEnded);
  }
  errands_.stop();
}

}  // namespace host
}  // namespace microvm
