// What the guest's exits reach: ports and MMIO, on the thread of the vCPU. Accesses to nothing read
// as a PC's bus does and are ignored when written: a guest cannot end a worker with them.
#include <algorithm>

#include "vmm/machine/machine.hpp"

namespace microvm::vmm {
namespace {

using Reason = wire::ExitEvent::Reason;

bool is_serial(uint64_t port) {
  return port >= layout::kSerialPort && port < layout::kSerialPort + layout::kSerialPorts;
}

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

// Our ports are bytes; wider accesses to them read like nothing is there.
void Machine::read_port(const kvm::Exit& exit) {
  std::ranges::fill(exit.data, std::byte{0xff});
  if (exit.size != 1) return;
  const auto port = static_cast<uint16_t>(exit.address);
  for (std::byte& byte : exit.data) {
    if (is_serial(port)) {
      byte = std::byte{serial_.read(static_cast<uint16_t>(port - layout::kSerialPort))};
    } else if (Power::owns(port)) {
      byte = std::byte{Power::read(port)};
    }
  }
}

bool Machine::write_port(const kvm::Exit& exit) {
  const auto port = static_cast<uint16_t>(exit.address);
  if (exit.size != 1) return true;
  for (const std::byte byte : exit.data) {
    const auto value = static_cast<uint8_t>(byte);
    if (is_serial(port)) {
      serial_.write(static_cast<uint16_t>(port - layout::kSerialPort), value);
    } else if (Power::owns(port)) {
      const auto event = Power::write(port, value);
      if (event == PowerEvent::power_off) return end(Reason::power_off);
      if (event == PowerEvent::reset) return end(panicked_ ? Reason::panic : Reason::reset);
    }
  }
  return true;
}

void Machine::read_mmio(const kvm::Exit& exit) {
  std::ranges::fill(exit.data, std::byte{0});
  for (const auto& slot : slots_) {
    if (Transport* transport = slot->transport_at(exit.address)) {
      return transport->read(exit.address - slot->address(), exit.data);
    }
  }
}

void Machine::write_mmio(const kvm::Exit& exit) {
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
