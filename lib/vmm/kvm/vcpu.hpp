// One vCPU of KVM: running it, and its registers.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/kvm/x86_64.hpp"

namespace microvm::vmm::kvm {

// What the host said once about every vCPU.
struct VcpuLimits {
  size_t run_bytes = 0;    // size of the shared kvm_run mapping
  bool pre_fault = false;  // pages can be mapped for the guest before it touches them
  X86Limits arch;
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

class Vcpu : public X86Vcpu {
 public:
  static Result<Vcpu> create(base::Fd fd, const VcpuLimits& limits);
  Vcpu(Vcpu&& other) noexcept;
  Vcpu& operator=(Vcpu&& other) noexcept;
  ~Vcpu();

  // Enters the guest. Always from the same thread: changing it costs an RCU grace period (before
  // Linux 6.13).
  Exit run();

  // Any thread: makes the current or next run() return `interrupted`. Whatever came before is
  // finished then: the access whose exit run() reported, registers that were to travel with it. A
  // thread that is inside the guest leaves it only by a signal as well, so set this first and then
  // signal the thread.
  void request_exit() noexcept;
  // The vCPU's thread, before it runs again.
  void clear_exit_request() noexcept;

  [[nodiscard]] bool can_pre_fault() const { return can_pre_fault_; }
  // Maps what the process has mapped there for the guest, as far as KVM can: a fault each is
  // spared. One ioctl; whole pages.
  void pre_fault(uint64_t guest_address, uint64_t bytes) noexcept;

 private:
  Vcpu(base::Fd fd, const VcpuLimits& limits, kvm_run* run);
  Exit translate_exit();

  size_t run_bytes_ = 0;
  bool can_pre_fault_ = false;
};

}  // namespace microvm::vmm::kvm
