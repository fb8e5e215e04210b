// KVM's ioctls behind types. No other folder calls ioctl() on a KVM fd.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/kvm/x86_64.hpp"

namespace microvm::vmm::kvm {

// /dev/kvm and what it told us once. Immutable, shared by everything of one worker.
class Kvm : public X86Host {
 public:
  // Takes an open /dev/kvm. Errors: kvm_unavailable (not KVM, wrong API version), kvm_unsuitable (a
  // capability is missing; the message names it).
  static Result<Kvm> open(base::Fd dev_kvm);

  [[nodiscard]] Result<Vm> create_vm() const;

 private:
  Kvm() = default;
  base::Fd fd_;
  VcpuLimits limits_;
};

}  // namespace microvm::vmm::kvm
