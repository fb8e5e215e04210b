// What the guest's exits reach: ports and MMIO, on the thread of the vCPU. Accesses to nothing read
// as a PC's bus does and are ignored when written: a guest cannot end a worker with them.
#include <algorithm>

#include "vmm/machine/machine.hpp"

namespace microvm::vmm {
namespace {

using Reason = wire::ExitEvent::Reason;
using To = arch::BusAccess::To;

}  // namespace

bool Machine::handle_exit(kvm::Exit& exit) {
  switch (exit.kind) {
    case kvm::Exit::Kind::pio_read:
      read_port(exit);
      return true;
    case kvm::Exit::Kind::pio_write:
      return write_port(exit);
    case kvm::Exit::Kind::mmio_read:
      read_mmio(exit);
      return true;
    case kvm::Exit::Kind::mmio_write:
      write_mmio(exit);
      return true;
    case kvm::Exit::Kind::interrupted:
      return true;
    case kvm::Exit::Kind::shutdown:
      return end(Reason::triple_fault);
    case kvm::Exit::Kind::halt:
      return end(Reason::internal_error, "the guest halted without an interrupt controller");
    case kvm::Exit::Kind::failed:
      return end(Reason::internal_error, exit.detail);
  }
  return true;
}

void Machine::read_port(const kvm::Exit& exit) {
  std::ranges::fill(exit.data, std::byte{0xff});
  const arch::BusAccess access = arch::find_on_bus(exit);
  for (std::byte& byte : exit.data) {
    if (access.to == To::serial) byte = std::byte{serial_.read(access.at)};
    if (access.to == To::power) byte = std::byte{arch::Power::read(access.at)};
  }
}

bool Machine::write_port(const kvm::Exit& exit) {
  const arch::BusAccess access = arch::find_on_bus(exit);
  for (const std::byte byte : exit.data) {
    const auto value = static_cast<uint8_t>(byte);
    if (access.to == To::serial) serial_.write(access.at, value);
    if (access.to != To::power) continue;
    const auto event = arch::Power::write(access.at, value);
    if (event == arch::PowerEvent::power_off) return end(Reason::power_off);
    if (event == arch::PowerEvent::reset) return end(panicked_ ? Reason::panic : Reason::reset);
  }
  return true;
}

// Where in the PCI configuration window, if it is there.
std::optional<uint64_t> Machine::config_offset(uint64_t address) const {
  const uint64_t offset = address - arch::kPciConfig;
  return pci_ && offset < arch::kPciConfigSize ? std::optional(offset) : std::nullopt;
}

void Machine::read_mmio(const kvm::Exit& exit) {
  std::ranges::fill(exit.data, std::byte{0});
  if (const auto at = config_offset(exit.address)) return pci_->bus.read(*at, exit.data);
  for (const auto& slot : slots_) {
    if (Transport* transport = slot->transport_at(exit.address)) {
      return transport->read(exit.address - slot->address(), exit.data);
    }
  }
}

void Machine::write_mmio(const kvm::Exit& exit) {
  if (const auto at = config_offset(exit.address)) return pci_->bus.write(*at, exit.data);
  for (const auto& slot : slots_) {
    if (Transport* transport = slot->transport_at(exit.address)) {
      return transport->write(exit.address - slot->address(), exit.data);
    }
  }
}

// Always false: the vCPU that brought the end does not run on.
bool Machine::end(Reason reason, std::string detail) {
  loop_.post([self = self_, event = wire::ExitEvent{reason, std::move(detail)}]() mutable {
    if (*self != nullptr) (*self)->report_end(std::move(event));
  });
  return false;
}

}  // namespace microvm::vmm
