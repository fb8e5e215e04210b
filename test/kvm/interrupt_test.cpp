// Interrupt pins, as a guest feels them that knows only the IOAPIC.
#include "raw_guest.hpp"
#include "vmm/arch/x86_64/boot.hpp"
#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;

asm(R"(
  .pushsection .rodata.interrupt_test, "a", @progbits
  interruptible_guest:
    sti
    mov $10000, %ecx
  1:
    pause
    loop 1b
    outb %al, $0x11
  interruptible_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte interruptible_guest[], interruptible_guest_end[];
}

namespace {

// It has no interrupt table: any interrupt ends it in a triple fault.
kvm::Exit::Kind end_of_guest_with(uint32_t gsi) {
  RawGuest guest({interruptible_guest, interruptible_guest_end}, RawGuest::Chips::yes);
  must(x86_64::set_firmware_state(guest.vm));
  must(guest.vm.pulse_interrupt(gsi));
  return guest.vcpu.run().kind;
}

}  // namespace

TEST_CASE("interrupts: a pin whose IOAPIC entry is masked reaches the guest by no other way") {
  for (uint32_t slot = 0; slot < layout::kMaxVirtioSlots; ++slot) {
    CHECK(end_of_guest_with(layout::virtio_gsi(slot)) == kvm::Exit::Kind::pio_write);
  }
  CHECK(end_of_guest_with(layout::kSerialGsi) == kvm::Exit::Kind::pio_write);
  CHECK(end_of_guest_with(layout::kGenerationIdGsi) == kvm::Exit::Kind::pio_write);
}
