#include "vmm/kvm/kvm.hpp"

#include <algorithm>
#include <array>

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {
namespace {

struct Needed {
  int capability;
  const char* name;
};

constexpr std::array kNeeded = {
    Needed{KVM_CAP_USER_MEMORY, "user_memory"},
    Needed{KVM_CAP_IRQCHIP, "irqchip"},
    Needed{KVM_CAP_IOEVENTFD, "ioeventfd"},
    Needed{KVM_CAP_IRQFD, "irqfd"},
    Needed{KVM_CAP_EXT_CPUID, "ext_cpuid"},
    Needed{KVM_CAP_MP_STATE, "mp_state"},
    Needed{KVM_CAP_VCPU_EVENTS, "vcpu_events"},
    Needed{KVM_CAP_DEBUGREGS, "debugregs"},
    Needed{KVM_CAP_XSAVE, "xsave"},
    Needed{KVM_CAP_XCRS, "xcrs"},
    Needed{KVM_CAP_ADJUST_CLOCK, "clock"},
    Needed{KVM_CAP_IMMEDIATE_EXIT, "immediate_exit"},
};

constexpr size_t kMaxCpuid = 256;  // KVM_MAX_CPUID_ENTRIES
constexpr size_t kMaxMsrs = 1024;  // 6.12 lists about 120 on AMD and 250 on Intel

Result<void> check_api(int fd) {
  if (call(fd, KVM_GET_API_VERSION, 0) == KVM_API_VERSION) return {};
  return base::fail(ErrorCode::kvm_unavailable, "the file given as /dev/kvm is not KVM");
}

Result<void> check_capabilities(int fd) {
  for (const Needed& needed : kNeeded) {
    if (call(fd, KVM_CHECK_EXTENSION, needed.capability) > 0) continue;
    return base::fail(ErrorCode::kvm_unsuitable, std::string("/dev/kvm lacks the capability ") +
                                                     needed.name + ": use a newer kernel");
  }
  return {};
}

Result<VcpuLimits> read_limits(int fd) {
  constexpr int kSyncMask = KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS;
  VcpuLimits limits;
  const int run_bytes = call(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_bytes < static_cast<int>(sizeof(kvm_run))) {
    return base::fail_errno("KVM_GET_VCPU_MMAP_SIZE");
  }
  limits.run_bytes = static_cast<size_t>(run_bytes);
  const int xsave_bytes = call(fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  limits.xsave_bytes = static_cast<size_t>(std::max<int>(xsave_bytes, kMinXsaveBytes));
  limits.sync_regs = (call(fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & kSyncMask) == kSyncMask;
  limits.pre_fault = call(fd, KVM_CHECK_EXTENSION, kCapPreFaultMemory) > 0;
  return limits;
}

}  // namespace

Result<Kvm> Kvm::open(base::Fd dev_kvm) {
  Kvm kvm;
  kvm.fd_ = std::move(dev_kvm);
  if (auto ok = check_api(kvm.fd_.get()); !ok) return base::fail(ok.error());
  if (auto ok = check_capabilities(kvm.fd_.get()); !ok) return base::fail(ok.error());
  auto limits = read_limits(kvm.fd_.get());
  if (!limits) return base::fail(limits.error());
  kvm.limits_ = *limits;
  kvm.has_tsc_deadline_ = call(kvm.fd_.get(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  if (auto ok = kvm.read_cpuid(); !ok) return base::fail(ok.error());
  if (auto ok = kvm.read_msr_indices(); !ok) return base::fail(ok.error());
  return kvm;
}

Result<void> Kvm::read_cpuid() {
  CpuidBuffer table(kMaxCpuid);
  if (call(fd_.get(), kGetSupportedCpuid, table.data()) < 0) {
    return base::fail_errno("KVM_GET_SUPPORTED_CPUID");
  }
  const size_t count = std::min<size_t>(table.count(), kMaxCpuid);
  cpuid_.assign(table.entries(), table.entries() + count);
  return {};
}

Result<void> Kvm::read_msr_indices() {
  MsrIndexBuffer table(kMaxMsrs);
  if (call(fd_.get(), kGetMsrIndexList, table.data()) < 0) {
    return base::fail_errno("KVM_GET_MSR_INDEX_LIST");
  }
  const size_t count = std::min<size_t>(table.count(), kMaxMsrs);
  msr_indices_.assign(table.entries(), table.entries() + count);
  return {};
}

Result<Vm> Kvm::create_vm() const {
  base::Fd fd(call(fd_.get(), KVM_CREATE_VM, 0));
  if (!fd) return base::fail_errno("KVM_CREATE_VM");
  return Vm(std::move(fd), limits_);
}

}  // namespace microvm::vmm::kvm
