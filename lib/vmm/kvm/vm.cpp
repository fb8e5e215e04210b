#include "vmm/kvm/vm.hpp"

#include "vmm/kvm/ioctl.hpp"

namespace microvm::vmm::kvm {

Result<void> Vm::add_memory_slot(uint32_t slot, const MemoryRegion& region) {
  const kvm_userspace_memory_region request{
      .slot = slot,
      .flags = 0,
      .guest_phys_addr = region.guest_address,
      .memory_size = region.size,
      .userspace_addr = reinterpret_cast<uint64_t>(region.host)};
  return check(fd_.get(), KVM_SET_USER_MEMORY_REGION, &request, "KVM_SET_USER_MEMORY_REGION");
}

Result<Vcpu> Vm::create_vcpu(uint32_t index) {
  base::Fd fd(call(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index)));
  if (!fd) return base::fail_errno("KVM_CREATE_VCPU");
  return Vcpu::create(std::move(fd), limits_);
}

Result<void> Vm::add_ioeventfd(int eventfd, uint64_t guest_address, uint32_t value) {
  const kvm_ioeventfd request{.datamatch = value,
                              .addr = guest_address,
                              .len = sizeof value,
                              .fd = eventfd,
                              .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
                              .pad = {}};
  return check(fd_.get(), KVM_IOEVENTFD, &request, "KVM_IOEVENTFD");
}

// Without a length KVM also finds it before it decodes the instruction (Intel).
Result<void> Vm::add_ioeventfd(int eventfd, uint64_t guest_address) {
  const kvm_ioeventfd request{
      .datamatch = 0, .addr = guest_address, .len = 0, .fd = eventfd, .flags = 0, .pad = {}};
  return check(fd_.get(), KVM_IOEVENTFD, &request, "KVM_IOEVENTFD");
}

Result<void> Vm::add_irqfd(int eventfd, uint32_t gsi) {
  const kvm_irqfd request{
      .fd = static_cast<uint32_t>(eventfd), .gsi = gsi, .flags = 0, .resamplefd = 0, .pad = {}};
  return check(fd_.get(), KVM_IRQFD, &request, "KVM_IRQFD");
}

Result<void> Vm::pulse_interrupt(uint32_t gsi) {
  for (const uint32_t level : {1u, 0u}) {
    kvm_irq_level request{};
    request.irq = gsi;
    request.level = level;
    if (auto ok = check(fd_.get(), KVM_IRQ_LINE, &request, "KVM_IRQ_LINE"); !ok) return ok;
  }
  return {};
}

}  // namespace microvm::vmm::kvm
