#include "vmm/machine/machine.hpp"

#include <algorithm>

#include "vmm/machine/mmio_slot.hpp"
#include "vmm/platform/generation_id.hpp"
#include "vmm/virtio/block.hpp"

namespace microvm::vmm {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A vCPU leaves the guest within microseconds, or after the reset of a device that waits for I/O.
constexpr milliseconds kParkDeadline = Transport::kResetDeadline + milliseconds(3000);
// There may be room again, and the device has not looked yet.
constexpr milliseconds kHeldPatience = 2 * BlockDevice::kRetryInterval;
constexpr milliseconds kEndDeadline{2000};

}  // namespace

Machine::Machine(sys::Loop& loop, kvm::Kvm kvm, kvm::Vm vm, GuestMemory memory, Lines lines,
                 arch::CpuTable cpu_table, const Shape& shape, Callbacks callbacks)
    : loop_(loop),
      shape_(shape),
      callbacks_(std::move(callbacks)),
      kvm_(std::move(kvm)),
      memory_(std::move(memory)),
      vm_(std::move(vm)),
      cpu_table_(std::move(cpu_table)),
      serial_irq_(std::move(lines.serial)),
      generation_irq_(std::move(lines.generation)),
      serial_(serial_irq_,
              [this](uint8_t byte) {
                callbacks_.console(byte);
                const auto value = std::byte{byte};
                panic_.feed({&value, 1});
                if (panic_.found()) panicked_ = true;
              }),
      self_(std::make_shared<Machine*>(this)) {
  if (shape_.transport == wire::TransportKind::mmio) return;
  pci_ = std::make_unique<PciParts>(vm_, loop_, callbacks_.log);
}

template <class Done>
bool Machine::run_loop_until(milliseconds limit, Done&& done) {
  const auto deadline = Clock::now() + limit;
  while (!done()) {
    if (Clock::now() >= deadline) return false;
    loop_.run_once(milliseconds(5));
  }
  return true;
}

Machine::~Machine() {
  vcpus_.clear();
  for (const auto& slot : slots_) {
    if (slot->transport() != nullptr) slot->transport()->pause();
  }
  static_cast<void>(run_loop_until(kEndDeadline, [this] { return idle(); }));
  *self_ = nullptr;
}

Result<void> Machine::attach(std::unique_ptr<Device> device, uint32_t index) {
  const DeviceType type = device->kind().type;
  const auto slot = std::ranges::find_if(slots_, [&](const auto& candidate) {
    const DeviceRow& row = candidate->row();
    return row.kind->type == type && candidate->number() == row.first_slot + index;
  });
  if (slot == slots_.end() || (*slot)->transport() != nullptr) {
    return base::fail(
        ErrorCode::invalid_argument,
        std::string("no room for ") + device->kind().name + " device " + std::to_string(index));
  }
  (*slot)->attach(std::move(device), {memory_, loop_, callbacks_.log});
  return {};
}

Result<void> Machine::make_devices() {
  const DeviceContext context{memory_, loop_, callbacks_.log};
  for (const auto& slot : slots_) {
    if (slot->transport() != nullptr) continue;
    const DeviceRow& row = slot->row();
    if (row.make == nullptr) {
      return base::fail(ErrorCode::invalid_argument,
                        std::string("a ") + row.kind->name + " device is missing");
    }
    slot->attach(row.make(context), context);
  }
  return {};
}

Result<void> Machine::boot_linux(const LinuxFiles& files) {
  if (auto ok = make_devices(); !ok) return ok;
  if (auto ok = memory_.back_with_zeros(); !ok) return ok;
  arch::MachineTables tables{.vcpus = shape_.vcpus, .devices = {}, .pci = pci_ != nullptr};
  for (const auto& slot : slots_) {
    if (!pci_) tables.devices.push_back(MmioSlot::window(slot->number()));
  }
  const auto tables_at = arch::write_tables(memory_, tables);
  if (!tables_at) return base::fail(tables_at.error());
  if (auto ok = write_generation_id(memory_, arch::kGenerationIdPage); !ok) return ok;
  const auto entry = arch::load_linux(memory_, {.kernel_fd = files.kernel.get(),
                                                .initramfs_fd = files.initramfs.get(),
                                                .cmdline = files.cmdline,
                                                .tables = *tables_at,
                                                .pci = tables.pci});
  if (!entry) return base::fail(entry.error());
  if (auto ok = arch::set_firmware_state(vm_); !ok) return ok;
  for (const auto& thread : vcpus_) {
    if (auto ok = arch::set_firmware_state(thread->vcpu(), cpu_table_); !ok) return ok;
  }
  return arch::set_boot_registers(vcpus_.front()->vcpu(), *entry);
}

void Machine::run() {
  if (running_ || has_ended_) return;
  running_ = true;
  if (stopped_at_) continue_clocks();
  for (const auto& slot : slots_) slot->transport()->resume();
  for (const auto& vcpu : vcpus_) vcpu->run();
  if (pci_) pci_->routes.apply_soon();
}

// Asked again in each round: that costs a signal, a request that was lost the whole deadline.
bool Machine::all_park() {
  for (const auto& vcpu : vcpus_) vcpu->request_park();
  return std::ranges::all_of(vcpus_,
                             [](const auto& vcpu) { return vcpu->wait_parked(milliseconds(1)); });
}

Result<void> Machine::pause() {
  running_ = false;
  for (const auto& vcpu : vcpus_) vcpu->settle();
  // The loop has to run meanwhile, see Transport::kResetDeadline.
  const bool all_parked = run_loop_until(kParkDeadline, [this] { return all_park(); });
  if (!all_parked) return base::fail(ErrorCode::deadline_exceeded, "a vcpu does not stop");
  for (const auto& slot : slots_) slot->transport()->pause();
  loop_.flush_raised();  // what was completed before is in the vCPUs' state
  return note_clocks();
}

Result<void> Machine::drain(milliseconds deadline) {
  if (auto ok = pause(); !ok) return ok;
  loop_.run_once(milliseconds(0));  // an end that a vCPU reported before it parked
  const auto patience = Clock::now() + kHeldPatience;
  const bool settled = run_loop_until(
      deadline, [&] { return idle() || (Clock::now() > patience && !check_held()); });
  if (idle()) return {};
  if (settled) return check_held();
  return base::fail(ErrorCode::deadline_exceeded,
                    "disk requests of the guest do not finish; try again");
}

bool Machine::idle() const {
  return std::ranges::all_of(slots_, [](const auto& slot) {
    return slot->transport() == nullptr || slot->transport()->idle();
  });
}

Result<void> Machine::check_held() const {
  for (const auto& slot : slots_) {
    if (auto ok = slot->transport()->device().check_held(); !ok) return ok;
  }
  return {};
}

void Machine::flush(std::function<void(Result<void>)> done) {
  struct Progress {
    size_t open = 0;
    Result<void> result;
    std::function<void(Result<void>)> done;
  };
  const auto progress = std::make_shared<Progress>(Progress{slots_.size(), {}, std::move(done)});
  for (const auto& slot : slots_) {
    slot->transport()->flush([progress](Result<void> flushed) {
      if (!flushed && progress->result) progress->result = std::move(flushed);
      if (--progress->open == 0) progress->done(progress->result);
    });
  }
}

Result<void> Machine::quiesce(milliseconds deadline) {
  if (auto ok = drain(deadline); !ok) return ok;
  // Shared with the callback: one that comes after the deadline finds it still there.
  const auto flushed = std::make_shared<std::optional<Result<void>>>();
  flush([flushed](Result<void> result) { *flushed = std::move(result); });
  if (run_loop_until(deadline, [&] { return flushed->has_value(); })) return **flushed;
  return base::fail(ErrorCode::deadline_exceeded, "the disks do not flush; try again");
}

// ---- clocks ------------------------------------------------------------------------------------

Result<void> Machine::note_clocks() {
  if (stopped_at_) return {};
  const auto clocks = arch::read_clocks(vm_, vcpus_.front()->vcpu());
  if (!clocks) return base::fail(clocks.error());
  stopped_at_ = *clocks;
  return {};
}

Result<arch::Clocks> Machine::hold_clocks() {
  if (auto ok = note_clocks(); !ok) return base::fail(ok.error());
  std::vector<kvm::Vcpu*> vcpus;
  for (const auto& thread : vcpus_) vcpus.push_back(&thread->vcpu());
  if (auto ok = arch::set_clocks(vm_, vcpus, *stopped_at_); !ok) return base::fail(ok.error());
  return *stopped_at_;
}

void Machine::continue_clocks() {
  // Where the clocks cannot be held, the guest's watchdogs should not take the time for a hang.
  for (const auto& thread : vcpus_) thread->vcpu().note_pause();
  if (auto ok = hold_clocks(); !ok && callbacks_.log) {
    callbacks_.log(base::LogLevel::warning, "the guest's clocks jump: " + ok.error().message);
  }
  stopped_at_.reset();
}

void Machine::report_end(wire::ExitEvent event) {
  if (has_ended_) return;
  has_ended_ = true;
  running_ = false;
  for (const auto& vcpu : vcpus_) vcpu->request_park();
  callbacks_.ended(std::move(event));
}

uint64_t Machine::exits() const {
  uint64_t sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->exits();
  return sum;
}

uint64_t Machine::devices_needing_reset() const {
  return static_cast<uint64_t>(std::ranges::count_if(slots_, [](const auto& slot) {
    return slot->transport() != nullptr && slot->transport()->needs_reset();
  }));
}

std::chrono::steady_clock::time_point Machine::first_run() const {
  return vcpus_.front()->first_run();
}

}  // namespace microvm::vmm
