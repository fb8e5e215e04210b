#include "vmm/kvm/kvm.hpp"

#include <array>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
namespace {

constexpr std::array kNeeded = {
    Needed{KVM_CAP_USER_MEMORY, "user_memory"},
    Needed{KVM_CAP_IRQCHIP, "irqchip"},
    Needed{KVM_CAP_IOEVENTFD, "ioeventfd"},
    Needed{KVM_CAP_IRQFD, "irqfd"},
    Needed{KVM_CAP_MP_STATE, "mp_state"},
    Needed{KVM_CAP_VCPU_EVENTS, "vcpu_events"},
    Needed{KVM_CAP_IMMEDIATE_EXIT, "immediate_exit"},
};

Result<void> check_api(int fd) {
  if (call(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION) return {};
  return base::fail(ErrorCode::kvm_unavailable, "the file given as /dev/kvm is not KVM");
}

Result<VcpuLimits> read_limits(int fd) {
  VcpuLimits limits;
  const int run_bytes = call(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < static_cast<int>(sizeof(kvm_run))) {
    return base::fail_errno("KVM_GET_VCPU_MMAP_SIZE");
  }
  limits.run_bytes = static_cast<size_t>(run_bytes);
  limits.pre_fault = call(fd, KVM_CHECK_EXTENSION, kCapPreFaultMemory) > 0;
  limits.arch = X86Limits::of_host(fd);
  return limits;
}

}  // namespace

Result<Kvm> Kvm::open(base::Fd dev_kvm) {
  Kvm kvm;
  kvm.fd_ = std::move(dev_kvm);
  if (auto ok = check_api(kvm.fd_.get()); !ok) return base::fail(ok.error());
  if (auto ok = check_capabilities(kvm.fd_.get(), kNeeded); !ok) return base::fail(ok.error());
  if (auto ok = kvm.read_host(kvm.fd_.get()); !ok) return base::fail(ok.error());
  auto limits = read_limits(kvm.fd_.get());
  if (!limits) return base::fail(limits.error());
  kvm.limits_ = *limits;
  return kvm;
}

Result<Vm> Kvm::create_vm() const {
  base::Fd fd(call(fd_.get(), KVM_CREATE_VM, 0));
  if (!fd) return base::fail_errno("KVM_CREATE_VM");
  return Vm(std::move(fd), limits_);
}

}  // namespace microvm::vmm::kvm
