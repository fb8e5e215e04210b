#include "vmm/kvm/vcpu.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <utility>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
Result<Vcpu> Vcpu::create(base::Fd fd, const VcpuLimits& limits) {
  void* run = ::mmap(nullptr, limits.run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (run == MAP_FAILED) return base::fail_errno("map kvm_run");
  Vcpu vcpu(std::move(fd), limits, static_cast<kvm_run*>(run));
  vcpu.read_host_tsc();
  return vcpu;
}

Vcpu::Vcpu(base::Fd fd, const VcpuLimits& limits, kvm_run* run)
    : X86Vcpu(std::move(fd), limits.arch, run),
      run_bytes_(limits.run_bytes),
      can_pre_fault_(limits.pre_fault) {}

Vcpu::Vcpu(Vcpu&& other) noexcept
    : X86Vcpu(std::move(other)),
      run_bytes_(other.run_bytes_),
      can_pre_fault_(other.can_pre_fault_) {
  other.run_ = nullptr;
}

Vcpu& Vcpu::operator=(Vcpu&& other) noexcept {
  std::swap(static_cast<X86Vcpu&>(*this), static_cast<X86Vcpu&>(other));
  std::swap(run_bytes_, other.run_bytes_);
  std::swap(can_pre_fault_, other.can_pre_fault_);
  return *this;
}

Vcpu::~Vcpu() {
  if (run_ != nullptr) ::munmap(run_, run_bytes_);
}

Exit Vcpu::run() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return translate_exit();
  // EAGAIN: a vCPU that waits for its startup interrupt was woken by something else.
  if (errno == EINTR || errno == EAGAIN) return {.kind = Exit::Kind::interrupted, .detail = {}};
  return {.kind = Exit::Kind::failed, .detail = std::string("KVM_RUN: ") + strerrordesc_np(errno)};
}

// Both in the one order that all threads see: callers look at what they want of the vCPU next to
// it (VcpuThread::run_guest()), and a clearing that became visible only after such a look could
// wipe out a request that the look had missed.
void Vcpu::request_exit() noexcept {
  std::atomic_ref(run_->immediate_exit).store(1, std::memory_order_seq_cst);
}

void Vcpu::clear_exit_request() noexcept {
  std::atomic_ref(run_->immediate_exit).store(0, std::memory_order_seq_cst);
}

void Vcpu::pre_fault(uint64_t guest_address, uint64_t bytes) noexcept {
  PreFault request{.gpa = guest_address, .size = bytes, .flags = 0, .padding = {}};
  while (request.size > 0 && call(fd_.get(), kPreFaultMemory, &request) == 0) {
  }
}

}  // namespace microvm::vmm::kvm
