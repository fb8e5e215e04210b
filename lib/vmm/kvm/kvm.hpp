// KVM's ioctls behind types. No other folder calls ioctl() on a KVM fd.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/kvm/vm.hpp"

namespace microvm::vmm::kvm {

// /dev/kvm and what it told us once. Immutable, shared by everything of one worker.
class Kvm {
 public:
  // Takes an open /dev/kvm. Errors: kvm_unavailable (not KVM, wrong API version), kvm_unsuitable (a
  // capability is missing; the message names it).
  static Result<Kvm> open(base::Fd dev_kvm);

  [[nodiscard]] Result<Vm> create_vm() const;

  // What KVM can show to a guest, unfiltered. See arch/x86_64/cpuid.hpp for what ours gets.
  [[nodiscard]] std::span<const kvm_cpuid_entry2> supported_cpuid() const { return cpuid_; }
  // MSRs this host can save. Some KVMs list MSRs they then refuse (0x10a on kvm_pvm).
  [[nodiscard]] std::span<const uint32_t> msr_indices() const { return msr_indices_; }
  [[nodiscard]] bool has_tsc_deadline() const { return has_tsc_deadline_; }

 private:
  Kvm() = default;
  Result<void> read_cpuid();
  Result<void> read_msr_indices();

  base::Fd fd_;
  std::vector<kvm_cpuid_entry2> cpuid_;
  std::vector<uint32_t> msr_indices_;
  VcpuLimits limits_;
  bool has_tsc_deadline_ = false;
};

}  // namespace microvm::vmm::kvm
