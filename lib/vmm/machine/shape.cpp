// Builds a machine up to the point where only memory and state are missing. The order is the one
// kvm/vm.hpp asks for; no device, memory or file of a certain Vm is known here.
#include <fcntl.h>

#include "vmm/machine/machine.hpp"
#include "vmm/machine/mmio_slot.hpp"

namespace microvm::vmm {
namespace {

// In a process with threads every growth of the descriptor table waits for an RCU grace period.
void grow_fd_table() {
  constexpr int kExpectedFds = 255;
  base::Fd highest(::fcntl(0, F_DUPFD_CLOEXEC, kExpectedFds));
}

}  // namespace

class MachineBuilder {
 public:
  MachineBuilder(sys::Loop& loop, const Shape& shape) : loop_(loop), shape_(shape) {}

  Result<std::unique_ptr<Machine>> build(kvm::Kvm kvm, Machine::Callbacks callbacks) {
    if (auto ok = create(std::move(kvm), std::move(callbacks)); !ok) return base::fail(ok.error());
    if (auto ok = add_memory(); !ok) return base::fail(ok.error());
    if (auto ok = machine_->vm_.create_interrupt_chips(); !ok) return base::fail(ok.error());
    if (auto ok = add_vcpus(); !ok) return base::fail(ok.error());
    if (auto ok = add_slots(); !ok) return base::fail(ok.error());
    if (auto ok = connect_doorbells(); !ok) return base::fail(ok.error());
    if (auto ok = connect_interrupts(); !ok) return base::fail(ok.error());
    return std::move(machine_);
  }

 private:
  Result<void> create(kvm::Kvm kvm, Machine::Callbacks callbacks) {
    auto vm = kvm.create_vm();
    if (!vm) return base::fail(vm.error());
    auto memory = GuestMemory::reserve(shape_.memory_bytes, shape_.memory_limit());
    if (!memory) return base::fail(memory.error());
    auto serial = EventLine::create();
    if (!serial) return base::fail(serial.error());
    auto generation = EventLine::create();
    if (!generation) return base::fail(generation.error());
    // The topology has a place for every vCPU there may be: a guest reads it once.
    auto cpu_table = arch::CpuTable::for_host(kvm, shape_.vcpu_limit());
    machine_.reset(new Machine(loop_, std::move(kvm), std::move(*vm), std::move(*memory),
                               {std::move(*serial), std::move(*generation)}, std::move(cpu_table),
                               shape_, std::move(callbacks)));
    return {};
  }

  Result<void> add_memory() {
    auto& vm = machine_->vm_;
    if (auto ok = arch::prepare_vm(vm); !ok) return ok;
    uint32_t slot = 0;
    for (const MemoryRegion& region : machine_->memory_.regions()) {
      if (auto ok = vm.add_memory_slot(slot++, region); !ok) return ok;
    }
    return {};
  }

  // KVM gets a vCPU beyond the baseline when it is needed: that is a few ioctls then, and nothing
  // to create, to save and to restore before.
  Result<void> add_vcpus() {
    for (uint32_t index = 0; index < shape_.vcpu_limit(); ++index) {
      auto thread = start_thread(index);
      if (!thread) return base::fail(thread.error());
      const bool at_baseline = index < shape_.vcpus;
      if (at_baseline) {
        if (auto ok = give_vcpu(**thread, index); !ok) return ok;
      }
      (at_baseline ? machine_->vcpus_ : machine_->spare_threads_).push_back(std::move(*thread));
    }
    return {};
  }

  Result<std::unique_ptr<VcpuThread>> start_thread(uint32_t index) {
    return VcpuThread::start(
        index, [machine = machine_.get()](kvm::Exit& exit) { return machine->handle_exit(exit); },
        [loop = &loop_] { loop->post([] {}); });
  }

  Result<void> give_vcpu(VcpuThread& thread, uint32_t index) {
    auto vcpu = machine_->vm_.create_vcpu(index);
    if (!vcpu) return base::fail(vcpu.error());
    if (auto ok = arch::set_cpu(*vcpu, machine_->cpu_table_, index); !ok) return ok;
    thread.adopt(std::move(*vcpu));
    return {};
  }

  Result<void> add_slots() {
    for (const DeviceRow& row : device_set()) {
      for (uint32_t index = 0; index < row.count(shape_); ++index) {
        auto slot = make_slot(row, row.first_slot + index);
        if (!slot) return base::fail(slot.error());
        machine_->slots_.push_back(std::move(*slot));
      }
    }
    return {};
  }

  Result<std::unique_ptr<VirtioSlot>> make_slot(const DeviceRow& row, uint32_t number) {
    if (machine_->pci_) return PciSlot::create(loop_, number, row, *machine_->pci_);
    return MmioSlot::create(loop_, number, row);
  }

  Result<void> connect_doorbells() {
    for (const auto& slot : machine_->slots_) {
      if (auto ok = slot->connect_doorbells(machine_->vm_); !ok) return ok;
    }
    return {};
  }

  Result<void> connect_interrupts() {
    auto& vm = machine_->vm_;
    if (auto ok = vm.add_irqfd(machine_->serial_irq_.fd(), arch::kSerialGsi); !ok) return ok;
    if (auto ok = vm.add_irqfd(machine_->generation_irq_.fd(), arch::kGenerationIdGsi); !ok) {
      return ok;
    }
    for (const auto& slot : machine_->slots_) {
      if (auto ok = slot->connect_interrupts(vm); !ok) return ok;
    }
    return {};
  }

  sys::Loop& loop_;
  const Shape shape_;
  std::unique_ptr<Machine> machine_;
};

Result<std::unique_ptr<Machine>> Machine::shape(sys::Loop& loop, kvm::Kvm kvm, const Shape& shape,
                                                Callbacks callbacks) {
  if (std::string problem = wire::shape_problem(shape); !problem.empty()) {
    return base::fail(ErrorCode::invalid_argument, std::move(problem));
  }
  grow_fd_table();
  return MachineBuilder(loop, shape).build(std::move(kvm), std::move(callbacks));
}

}  // namespace microvm::vmm
