// One vCPU of KVM: running it, and its registers.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::vmm::kvm {

// What the host said once about every vCPU.
struct VcpuLimits {
  size_t run_bytes = 0;    // size of the shared kvm_run mapping
  size_t xsave_bytes = 0;  // size of the XSAVE image, at least 4096
  bool sync_regs = false;  // registers can travel in kvm_run instead of by ioctls
  bool pre_fault = false;  // pages can be mapped for the guest before it touches them
};

// Why run() came back.
struct Exit {
  enum class Kind {
    pio_read,     // fill `data`, then run again
    pio_write,    //
    mmio_read,    // fill `data`, then run again
    mmio_write,   //
    halt,         // HLT without an interrupt chip
    shutdown,     // triple fault
    interrupted,  // a signal or request_exit()
    failed,       // KVM cannot go on: `detail` says why
  };
  Kind kind = Kind::failed;
  uint64_t address = 0;  // port or guest-physical address
  // The bytes of the access, in the kvm_run mapping: valid until the next run(). For ports it holds
  // `size`-byte accesses one after another (string instructions).
  std::span<std::byte> data;
  uint32_t size = 0;
  std::string detail;
};

// Registers: every get and set is one ioctl, from any thread while the vCPU does not run.
class Vcpu {
 public:
  static Result<Vcpu> create(base::Fd fd, VcpuLimits limits);
  Vcpu(Vcpu&& other) noexcept;
  Vcpu& operator=(Vcpu&& other) noexcept;
  ~Vcpu();

  // Enters the guest. Always from the same thread: changing it costs an RCU grace period.
  Exit run();

  // Any thread: makes the current or next run() return `interrupted`. A thread that is inside the
  // guest leaves it only by a signal as well, so set this first and then signal the thread.
  void request_exit() noexcept;
  // The vCPU's thread, before it runs again.
  void clear_exit_request() noexcept;
  // Finishes an access whose exit run() reported, without executing anything further: needed before
  // registers are saved.
  Result<void> complete_pending_access();

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

  // The guest's TSC as it is now.
  [[nodiscard]] Result<uint64_t> tsc() const;
  // Adds ticks to it, modulo 2^64. Error unsupported: this KVM cannot (before Linux 5.16).
  Result<void> shift_tsc(uint64_t ticks);
  // Sets it. KVM takes a value less than a second away from what it expects for an attempt to keep
  // vCPUs in step, and leaves the TSC as it is.
  Result<void> set_tsc(uint64_t value);

  // Reads the values of `entries[i].index`. The number of leading entries KVM could read: when
  // short, the entry at that place was refused.
  [[nodiscard]] Result<size_t> read_msrs(std::span<kvm_msr_entry> entries) const;
  // The same for writing. One ioctl.
  Result<size_t> write_msrs(std::span<const kvm_msr_entry> entries);

  Result<void> set_cpuid(std::span<const kvm_cpuid_entry2> entries);

  [[nodiscard]] bool can_pre_fault() const { return limits_.pre_fault; }
  // Maps what the process has mapped there for the guest, as far as KVM can: a fault each is
  // spared. One ioctl; whole pages.
  void pre_fault(uint64_t guest_address, uint64_t bytes) noexcept;

  // Tells a guest that it was paused, so that its watchdogs do not fire.
  void note_pause() noexcept;

 private:
  Vcpu(base::Fd fd, VcpuLimits limits, kvm_run* run);
  Exit translate_exit();

  base::Fd fd_;
  VcpuLimits limits_;
  kvm_run* run_ = nullptr;
  uint32_t host_tsc_khz_ = 0;
};

}  // namespace microvm::vmm::kvm
