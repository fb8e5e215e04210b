// One virtual machine: KVM, memory, vCPU threads, platform and devices joined. Its life is
//   shape()  everything KVM has to create, before it is known what will run (pooled workers)
//   attach() its devices; then boot_linux(), or snapshot/restore.hpp fills it
//   run() ⇄ pause(), quiesce()
//   ended    an event: the guest powered off, reset, crashed
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"
#include "sys/loop.hpp"
#include "vmm/arch/arch.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/kvm/vm.hpp"
#include "vmm/machine/event_line.hpp"
#include "vmm/machine/pci_slot.hpp"
#include "vmm/machine/vcpu_thread.hpp"
#include "vmm/machine/virtio_slot.hpp"
#include "vmm/memory/guest_memory.hpp"
#include "vmm/platform/log_ring.hpp"
#include "vmm/platform/serial.hpp"
#include "wire/control.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm {

using wire::Shape;

struct LinuxFiles {
  base::Fd kernel;     // ELF vmlinux
  base::Fd initramfs;  // may be absent
  std::string cmdline;
};

// All functions are for the loop's thread.
class Machine {
 public:
  struct Callbacks {
    std::function<void(uint8_t)> console;  // every byte of the serial port; a vCPU's thread
    // Once, on the loop's thread, outside of any call: the guest cannot go on.
    std::function<void(wire::ExitEvent)> ended;
    base::LogSink log;
  };

  // Errors: invalid_argument (memory, vCPUs or disks out of bounds), those of KVM.
  static Result<std::unique_ptr<Machine>> shape(sys::Loop& loop, kvm::Kvm kvm, const Shape& shape,
                                                Callbacks callbacks);
  // Stops the vCPUs and waits for I/O in flight up to a deadline.
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Puts a device into its slot, before the machine runs for the first time; `index` says which of
  // several of its kind it is. Error invalid_argument when the shape has no such one, or it is
  // there already.
  Result<void> attach(std::unique_ptr<Device> device, uint32_t index = 0);
  // Makes the devices that need nothing from outside and were not attached (device_set.hpp). Error
  // invalid_argument when another one is missing.
  Result<void> make_devices();

  // Fills memory and vCPU 0 for a cold boot; run() starts it.
  Result<void> boot_linux(const LinuxFiles& files);

  // The guest's clocks go on where they stood when pause() stopped it.
  void run();
  // Parks the vCPUs and keeps the devices from taking new work. Error deadline_exceeded.
  Result<void> pause();
  static constexpr std::chrono::milliseconds kDrainDeadline{30'000};  // for a slow disk
  // pause(), then waits until no device has anything in flight. Errors: deadline_exceeded, those of
  // the disks. The machine is paused in any case.
  Result<void> drain(std::chrono::milliseconds deadline = kDrainDeadline);
  // Of one that is drained: what is in memory and on disk belongs together afterwards. `done` is
  // called once, on the loop, also when that takes long.
  void flush(std::function<void(Result<void>)> done);
  // Both. Each has `deadline`.
  Result<void> quiesce(std::chrono::milliseconds deadline = kDrainDeadline);

  // Paused: sets the guest's clocks back to where they stood when it stopped, so that what is saved
  // of them does not have the time since. Returns them.
  Result<arch::Clocks> hold_clocks();

  [[nodiscard]] bool running() const { return running_; }
  [[nodiscard]] bool has_ended() const { return has_ended_; }
  [[nodiscard]] uint64_t exits() const;
  [[nodiscard]] uint64_t devices_needing_reset() const;
  // When vCPU 0 entered the guest for the first time.
  [[nodiscard]] std::chrono::steady_clock::time_point first_run() const;

  // The parts, for saving and restoring them.
  [[nodiscard]] const Shape& current_shape() const { return shape_; }
  [[nodiscard]] const kvm::Kvm& kvm() const { return kvm_; }
  [[nodiscard]] kvm::Vm& vm() { return vm_; }
  [[nodiscard]] GuestMemory& memory() { return memory_; }
  [[nodiscard]] arch::CpuTable& cpu_table() { return cpu_table_; }
  // Those that KVM has: the baseline's.
  [[nodiscard]] std::span<const std::unique_ptr<VcpuThread>> vcpus() { return vcpus_; }
  [[nodiscard]] std::span<const std::unique_ptr<VirtioSlot>> slots() { return slots_; }
  [[nodiscard]] Serial& serial() { return serial_; }
  [[nodiscard]] Irq& generation_irq() { return generation_irq_; }

 private:
  friend class MachineBuilder;
  struct Lines {
    EventLine serial;
    EventLine generation;
  };
  Machine(sys::Loop& loop, kvm::Kvm kvm, kvm::Vm vm, GuestMemory memory, Lines lines,
          arch::CpuTable cpu_table, const Shape& shape, Callbacks callbacks);

  // Exits of the guest; on a vCPU's thread.
  bool handle_exit(kvm::Exit& exit);
  void read_port(const kvm::Exit& exit);
  bool write_port(const kvm::Exit& exit);
  [[nodiscard]] std::optional<uint64_t> config_offset(uint64_t address) const;
  void read_mmio(const kvm::Exit& exit);
  void write_mmio(const kvm::Exit& exit);
  bool end(wire::ExitEvent::Reason reason, std::string detail = {});

  void report_end(wire::ExitEvent event);
  template <class Done>
  [[nodiscard]] bool run_loop_until(std::chrono::milliseconds limit, Done&& done);
  [[nodiscard]] bool all_park();
  // Nothing is in flight at any device.
  [[nodiscard]] bool idle() const;
  [[nodiscard]] Result<void> check_held() const;
  Result<void> note_clocks();
  void continue_clocks();

  sys::Loop& loop_;
  const Shape shape_;
  const Callbacks callbacks_;
  const kvm::Kvm kvm_;
  GuestMemory memory_;
  kvm::Vm vm_;
  arch::CpuTable cpu_table_;
  EventLine serial_irq_;
  EventLine generation_irq_;
  Serial serial_;
  TextDetector panic_{kPanicText};  // used on the vCPUs' threads, under the serial port's mutex
  std::atomic<bool> panicked_{false};
  std::unique_ptr<PciParts> pci_;  // null: its devices are on MMIO
  std::vector<std::unique_ptr<VirtioSlot>> slots_;
  std::vector<std::unique_ptr<VcpuThread>> vcpus_;
  // Parked and without a vCPU, for those that may come up to the shape's peak.
  std::vector<std::unique_ptr<VcpuThread>> spare_threads_;
  bool running_ = false;
  bool has_ended_ = false;
  std::optional<arch::Clocks> stopped_at_;  // while paused
  std::shared_ptr<Machine*> self_;          // emptied by the destructor: what the loop still holds
};

}  // namespace microvm::vmm
