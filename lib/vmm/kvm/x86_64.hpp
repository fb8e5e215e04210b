// What KVM has for x86 alone: the parts of Kvm, Vm and Vcpu for which another architecture has
// others. They are bases of those three, so whoever has one of them calls both kinds alike.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::vmm::kvm {

struct X86Limits {
  size_t xsave_bytes = 0;  // size of the XSAVE image, at least 4096
  bool sync_regs = false;  // registers can travel in kvm_run instead of by ioctls

  static X86Limits of_host(int dev_kvm);
};

// What /dev/kvm told once.
class X86Host {
 public:
  // What KVM can show to a guest, unfiltered. See arch/x86_64/cpuid.hpp for what ours gets.
  [[nodiscard]] std::span<const kvm_cpuid_entry2> supported_cpuid() const { return cpuid_; }
  // MSRs this host can save. Some KVMs list MSRs they then refuse (0x10a on kvm_pvm).
  [[nodiscard]] std::span<const uint32_t> msr_indices() const { return msr_indices_; }
  [[nodiscard]] bool has_tsc_deadline() const { return has_tsc_deadline_; }
  // What a new vCPU has in IA32_ARCH_CAPABILITIES; 0 where KVM does not say.
  [[nodiscard]] uint64_t arch_capabilities() const { return arch_capabilities_; }

 protected:
  // Errors: kvm_unsuitable (a capability is missing), those of KVM.
  Result<void> read_host(int dev_kvm);

 private:
  Result<void> read_cpuid(int dev_kvm);
  Result<void> read_msr_indices(int dev_kvm);
  void read_arch_capabilities(int dev_kvm);

  std::vector<kvm_cpuid_entry2> cpuid_;
  std::vector<uint32_t> msr_indices_;
  bool has_tsc_deadline_ = false;
  uint64_t arch_capabilities_ = 0;
};

class X86Vm {
 public:
  // Addresses KVM needs for itself on older Intel processors; before the memory slots.
  Result<void> set_private_addresses(uint64_t tss, uint64_t identity_map);
  // Two 8259, one IOAPIC, a local APIC per vCPU. No PIT.
  Result<void> create_interrupt_chips();

  // Chips 0 and 1 are the 8259s, 2 is the IOAPIC.
  static constexpr uint32_t kChips = 3;
  [[nodiscard]] Result<kvm_irqchip> interrupt_chip(uint32_t chip) const;
  Result<void> set_interrupt_chip(const kvm_irqchip& chip);

  // Sends a message as a device does. One ioctl.
  Result<void> send_message(uint64_t address, uint32_t data);

  // Which message an irqfd on the pin of this number is; numbers from kFirstMessageGsi on.
  struct MessageRoute {
    uint32_t gsi = 0;
    uint64_t address = 0;
    uint32_t data = 0;
  };
  static constexpr uint32_t kFirstMessageGsi = 24;
  // These and no others, beside the chips' pins, which stay. Waits for an RCU grace period; an
  // address that is not one of a local APIC's makes KVM send the interrupt to what its bits say.
  Result<void> set_message_routes(std::span<const MessageRoute> routes);

  // The guest's paravirtual clock, nanoseconds. Setting it moves the clock of all vCPUs.
  [[nodiscard]] Result<uint64_t> clock_ns() const;
  Result<void> set_clock_ns(uint64_t ns);

 protected:
  explicit X86Vm(base::Fd fd) : fd_(std::move(fd)) {}

  base::Fd fd_;
};

// Registers: every get and set is one ioctl, from any thread while the vCPU does not run.
class X86Vcpu {
 public:
  [[nodiscard]] Result<kvm_regs> regs() const;
  Result<void> set_regs(const kvm_regs& regs);
  [[nodiscard]] Result<kvm_sregs> sregs() const;
  Result<void> set_sregs(const kvm_sregs& sregs);
  [[nodiscard]] Result<kvm_vcpu_events> events() const;
  Result<void> set_events(const kvm_vcpu_events& events);
  // Both with the next run() where the host can (no ioctl), else at once. Only for a vCPU that is
  // runnable or halted: on another the next run() may come to nothing and a later one apply them.
  Result<void> set_regs_and_events_on_run(const kvm_regs& regs, const kvm_vcpu_events& events);
  [[nodiscard]] Result<kvm_debugregs> debugregs() const;
  Result<void> set_debugregs(const kvm_debugregs& debugregs);
  [[nodiscard]] Result<kvm_xcrs> xcrs() const;
  Result<void> set_xcrs(const kvm_xcrs& xcrs);
  [[nodiscard]] Result<std::vector<std::byte>> xsave() const;
  // Error incompatible_cpu when the image is longer than this host's. A shorter one comes from a
  // host with fewer components: the others get their reset values.
  Result<void> set_xsave(std::span<const std::byte> image);
  [[nodiscard]] Result<kvm_lapic_state> lapic() const;
  Result<void> set_lapic(const kvm_lapic_state& lapic);
  [[nodiscard]] Result<kvm_mp_state> mp_state() const;
  Result<void> set_mp_state(kvm_mp_state state);
  [[nodiscard]] Result<uint32_t> tsc_khz() const;
  Result<void> set_tsc_khz(uint32_t khz);
  // What tsc_khz() was when the vCPU was made, 0 when unknown. No ioctl.
  [[nodiscard]] uint32_t host_tsc_khz() const { return host_tsc_khz_; }
  // Whether set_tsc_khz() gave it another one. No ioctl.
  [[nodiscard]] bool scales_tsc() const { return scales_tsc_; }

  // The guest's TSC as it is now.
  [[nodiscard]] Result<uint64_t> tsc() const;
  // What is added to the host's (times the ratio of frequencies), modulo 2^64. Error unsupported:
  // this KVM does not say (before Linux 5.16).
  [[nodiscard]] Result<uint64_t> tsc_offset() const;
  Result<void> set_tsc_offset(uint64_t offset);
  // Adds ticks to it. Errors as above.
  Result<void> shift_tsc(uint64_t ticks);
  // Sets it; but see TscWay in arch/x86_64/clocks.hpp.
  Result<void> set_tsc(uint64_t value);

  // Reads the values of `entries[i].index`. The number of leading entries KVM could read: when
  // short, the entry at that place was refused.
  [[nodiscard]] Result<size_t> read_msrs(std::span<kvm_msr_entry> entries) const;
  // The same for writing. One ioctl.
  Result<size_t> write_msrs(std::span<const kvm_msr_entry> entries);

  Result<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);

  // Tells a guest that it was paused, so that its watchdogs do not fire.
  void note_pause() noexcept;

 protected:
  X86Vcpu(base::Fd fd, const X86Limits& limits, kvm_run* run)
      : fd_(std::move(fd)), run_(run), limits_(limits) {}
  // Once, when the vCPU is made. One ioctl.
  void read_host_tsc() { host_tsc_khz_ = tsc_khz().value_or(0); }

  base::Fd fd_;
  kvm_run* run_ = nullptr;  // not owned here

 private:
  X86Limits limits_;
  uint32_t host_tsc_khz_ = 0;
  bool scales_tsc_ = false;
};

}  // namespace microvm::vmm::kvm
