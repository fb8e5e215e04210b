// The KVM wrappers, on guests of a few instructions.
#include "vmm/kvm/kvm.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "raw_guest.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using Kind = kvm::Exit::Kind;

asm(R"(
  .pushsection .rodata.kvm_test, "a", @progbits
  port_guest:
    inb $0x10, %al
    incb %al
    outb %al, $0x11
    movw $0x12, %dx
    movl $0x12345678, %eax
    outl %eax, %dx
    hlt
  port_guest_end:

  device_guest:
    movl $0x10000000, %ebx
    movl (%rbx), %eax
    incl %eax
    movl %eax, 4(%rbx)
    hlt
  device_guest_end:

  # Writes 7, which nobody waits for, then 3, which an eventfd does.
  kick_guest:
    movl $0x10000050, %ebx
    movl $3, (%rbx)
    movl $7, (%rbx)
    hlt
  kick_guest_end:

  # The 8259's pin 4 at vector 0x24; the gate is built by the guest itself.
  interrupt_guest:
    leaq 2f(%rip), %rax
    movl $0x1240, %edi
    movw %ax, (%rdi)
    movw $0x10, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shrq $16, %rax
    movw %ax, 6(%rdi)
    shrq $16, %rax
    movl %eax, 8(%rdi)
    subq $16, %rsp
    movw $0xfff, (%rsp)
    movq $0x1000, 2(%rsp)
    lidt (%rsp)
    movb $0x11, %al
    outb %al, $0x20
    movb $0x20, %al
    outb %al, $0x21
    movb $0x04, %al
    outb %al, $0x21
    movb $0x01, %al
    outb %al, $0x21
    movb $0xef, %al
    outb %al, $0x21
    sti
    outb %al, $0x11
  1:
    pause
    jmp 1b
  2:
    outb %al, $0x24
    jmp 2b
  interrupt_guest_end:

  endless_guest:
    jmp endless_guest
  endless_guest_end:
  .popsection
)");
extern "C" {
extern const std::byte port_guest[], port_guest_end[], device_guest[], device_guest_end[],
    kick_guest[], kick_guest_end[], interrupt_guest[], interrupt_guest_end[], endless_guest[],
    endless_guest_end[];
}

TEST_CASE("kvm: a file that is not KVM is refused") {
  const auto kvm = kvm::Kvm::open(base::Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  REQUIRE_FALSE(kvm);
  CHECK(kvm.error().code == ErrorCode::kvm_unavailable);
}

TEST_CASE("kvm: port reads and writes") {
  RawGuest guest({port_guest, port_guest_end});
  kvm::Exit exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_read);
  CHECK(exit.address == 0x10);
  REQUIRE(exit.data.size() == 1);
  exit.data[0] = std::byte{41};

  exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_write);
  CHECK(exit.address == 0x11);
  CHECK(exit.data[0] == std::byte{42});

  exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_write);
  CHECK(exit.size == 4);
  uint32_t value = 0;
  std::memcpy(&value, exit.data.data(), sizeof value);
  CHECK(value == 0x12345678);
  CHECK(guest.vcpu.run().kind == Kind::halt);
}

TEST_CASE("kvm: device reads and writes") {
  RawGuest guest({device_guest, device_guest_end});
  kvm::Exit exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::mmio_read);
  CHECK(exit.address == kRawDevice);
  REQUIRE(exit.data.size() == 4);
  const uint32_t answer = 99;
  std::memcpy(exit.data.data(), &answer, sizeof answer);

  exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::mmio_write);
  CHECK(exit.address == kRawDevice + 4);
  CHECK(exit.data[0] == std::byte{100});
}

TEST_CASE("kvm: a kick goes to its eventfd without an exit, another value does not") {
  RawGuest guest({kick_guest, kick_guest_end});
  const base::Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  must(guest.vm.add_ioeventfd(event.get(), kRawDevice + 0x50, 3));
  const kvm::Exit exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::mmio_write);
  CHECK(exit.data[0] == std::byte{7});
  uint64_t count = 0;
  CHECK(::read(event.get(), &count, sizeof count) == sizeof count);
  CHECK(count == 1);
}

TEST_CASE("kvm: an irqfd interrupts the guest") {
  RawGuest guest({interrupt_guest, interrupt_guest_end}, RawGuest::Chips::yes);
  const base::Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  must(guest.vm.add_irqfd(event.get(), 4));
  kvm::Exit exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_write);
  CHECK(exit.address == 0x11);
  const uint64_t one = 1;
  REQUIRE(::write(event.get(), &one, sizeof one) == sizeof one);
  exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::pio_write);
  CHECK(exit.address == 0x24);
}

TEST_CASE("kvm: a requested exit holds until it is cleared") {
  RawGuest guest({endless_guest, endless_guest_end});
  guest.vcpu.request_exit();
  CHECK(guest.vcpu.run().kind == Kind::interrupted);
  CHECK(guest.vcpu.run().kind == Kind::interrupted);
}

TEST_CASE("kvm: no memory at the program is the end of the guest, with a reason") {
  RawGuest guest({endless_guest, endless_guest_end});
  auto regs = must(guest.vcpu.regs());
  regs.rip = kRawDevice;
  must(guest.vcpu.set_regs(regs));
  const kvm::Exit exit = guest.vcpu.run();
  REQUIRE(exit.kind == Kind::failed);
  CHECK(exit.detail.starts_with("kvm cannot emulate the instruction"));
}
