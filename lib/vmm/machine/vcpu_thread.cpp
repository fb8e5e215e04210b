#include "vmm/machine/vcpu_thread.hpp"

#include <signal.h>

#include <string>

namespace microvm::vmm {
namespace {

using Clock = std::chrono::steady_clock;

// Device code runs on these stacks, nothing deep does; 64 vCPUs should not cost 512 MiB of them.
constexpr size_t kStackBytes = 128 * 1024;
constexpr int kInterruptSignal = SIGUSR1;

// The signal only has to end KVM_RUN; other system calls of the thread go on by themselves.
void ignore_signal() {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(kInterruptSignal, &action, nullptr);
}

}  // namespace

VcpuThread::VcpuThread(uint32_t index, ExitHandler handler, Parked parked)
    : index_(index), handler_(std::move(handler)), on_parked_(std::move(parked)) {}

Result<std::unique_ptr<VcpuThread>> VcpuThread::start(uint32_t index, ExitHandler handler,
                                                      Parked parked) {
  if (index == 0) ignore_signal();
  std::unique_ptr<VcpuThread> self(new VcpuThread(index, std::move(handler), std::move(parked)));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  const int err = pthread_create(&self->thread_, &attributes, thread_main, self.get());
  pthread_attr_destroy(&attributes);
  if (err != 0) return base::fail_errno("start a vcpu thread", err);
  self->joinable_ = true;
  return self;
}

VcpuThread::~VcpuThread() {
  if (!joinable_) return;
  {
    const std::lock_guard lock(mutex_);
    wanted_ = Wanted::end;
  }
  interrupt();
  changed_.notify_all();
  pthread_join(thread_, nullptr);
}

void VcpuThread::run() {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = Wanted::run;
    is_parked_ = false;
  }
  changed_.notify_all();
}

void VcpuThread::request_park() {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = Wanted::park;
    if (is_parked_) return;
  }
  interrupt();
}

void VcpuThread::settle() {
  {
    const std::lock_guard lock(mutex_);
    if (!vcpu_ || !is_parked_ || is_settled_) return;
    is_parked_ = false;
  }
  changed_.notify_all();
}

// The request first: a thread that is just about to enter the guest sees it there, one that is
// inside already is brought out by the signal.
void VcpuThread::interrupt() {
  if (vcpu_) vcpu_->request_exit();
  pthread_kill(thread_, kInterruptSignal);
}

bool VcpuThread::parked() const {
  const std::lock_guard lock(mutex_);
  return is_parked_;
}

bool VcpuThread::wait_parked(std::chrono::milliseconds limit) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return is_parked_; });
}

void* VcpuThread::thread_main(void* self) {
  auto& thread = *static_cast<VcpuThread*>(self);
  pthread_setname_np(pthread_self(), ("vcpu" + std::to_string(thread.index_)).c_str());
  thread.loop();
  return nullptr;
}

void VcpuThread::loop() {
  while (wait_for_work()) {
    const bool interrupted = run_guest();
    {
      const std::lock_guard lock(mutex_);
      if (!interrupted && wanted_ == Wanted::run) wanted_ = Wanted::park;
      is_settled_ = interrupted;
      is_parked_ = wanted_ != Wanted::run;
      if (!is_parked_) continue;
    }
    changed_.notify_all();
    on_parked_();
  }
}

// A run() that was followed by request_park() before we woke still is one: see run_guest().
bool VcpuThread::wait_for_work() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !is_parked_ || wanted_ == Wanted::end; });
  return wanted_ != Wanted::end;
}

// The exit request is cleared before `wanted_` is looked at: whoever asks to park writes them in
// the other order, so one of the two is always seen. KVM_RUN is called at least once even then,
// because registers that were set lazily reach KVM only there. A request that was taken back before
// we saw it is cleared on the next round: left standing, it would end every entry at once. False:
// it stopped by itself.
bool VcpuThread::run_guest() {
  if (first_run_.load() == Clock::time_point{}) first_run_ = Clock::now();
  do {
    vcpu_->clear_exit_request();
    if (wanted_ != Wanted::run) vcpu_->request_exit();
    if (!run_to_interruption()) return false;
  } while (wanted_ == Wanted::run);
  return true;
}

// Parking happens only at an interruption: KVM has finished every earlier access by then.
bool VcpuThread::run_to_interruption() {
  for (;;) {
    kvm::Exit exit = vcpu_->run();
    exits_.fetch_add(1, std::memory_order_relaxed);
    if (exit.kind == kvm::Exit::Kind::interrupted) return true;
    if (!handler_(exit)) return false;
  }
}

}  // namespace microvm::vmm
