// Devices on PCI in a machine with KVM: what a guest finds, and how interrupts reach it.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <atomic>
#include <memory>

#include "captured.hpp"
#include "raw_guest.hpp"
#include "tiny_guest.hpp"
#include "unit/vmm/virtio/echo_device.hpp"
#include "unit/vmm/virtio/mock_driver.hpp"
#include "vmm/snapshot/restore.hpp"
#include "vmm/snapshot/save.hpp"
#include "vmm/virtio/vsock/vsock.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using microvm::test::EchoDevice;
using microvm::test::MockRing;
using namespace std::chrono_literals;

namespace {

constexpr TinyShape kOnPci{.transport = wire::TransportKind::pci};
constexpr uint32_t kRngSlot = 5;

// To vCPU 0, which has no table of handlers: it ends in a triple fault.
constexpr MsiMessage kEndsGuest{0xfee0'0000, 0x40};

// Counts with its local APIC on and interrupts let through.
Code interruptible_guest() {
  constexpr uint64_t kSpuriousVector = layout::kLocalApic + 0xf0;
  constexpr uint32_t kApicOn = 0x1ff;
  constexpr std::array kSti = {std::byte{0xfb}};
  Code code;
  code.map_devices().map_device_page(layout::kLocalApic);
  return code.point_at(kSpuriousVector).set_eax(kApicOn).store_eax().append(kSti).count_forever();
}

// A guest that prints; the device stands where the random number generator would.
struct PciMachine {
  PciMachine() {
    auto device = std::make_unique<EchoDevice>();
    echo = device.get();
    must(machine->attach(std::make_unique<VsockDevice>(*loop)));
    must(machine->attach(std::move(device)));
  }
  void boot() {
    must(machine->boot_linux(
        {.kernel = interruptible_guest().elf(), .initramfs = {}, .cmdline = ""}));
    machine->run();
  }
  PciTransport& transport() {
    for (const auto& slot : machine->slots()) {
      if (slot->number() == kRngSlot) return static_cast<PciTransport&>(*slot->transport());
    }
    FAIL("no such slot");
    std::abort();
  }
  void set_message(uint16_t vector, const MsiMessage& message) {
    const uint64_t entry = pci::kMsixTableAt + vector * uint64_t{MsixTable::kEntryBytes};
    microvm::test::write_at(transport(), entry, static_cast<uint32_t>(message.address), 4);
    microvm::test::write_at(transport(), entry + 8, message.data, 4);
  }
  void mask(uint16_t vector, bool masked) {
    const uint64_t entry = pci::kMsixTableAt + vector * uint64_t{MsixTable::kEntryBytes};
    microvm::test::write_at(transport(), entry + 12, masked ? 1 : 0, 4);
  }
  void answer_request() {
    ring.describe(0, {0x700000, 8, microvm::test::kWrite});
    ring.offer(0);
    transport().kick(0);
  }
  bool goes_on() {
    const uint64_t before = printed;
    return microvm::test::run_until(*loop, [&] { return printed > before + 5; });
  }
  bool ends() {
    return microvm::test::run_until(*loop, [&] { return has_ended; });
  }

  std::atomic<uint64_t> printed{0};
  bool has_ended = false;
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  std::unique_ptr<Machine> machine = must(Machine::shape(
      *loop, must(kvm::Kvm::open(base::Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)))), kOnPci.full(),
      {.console = [this](uint8_t) { ++printed; },
       .ended = [this](const wire::ExitEvent&) { has_ended = true; },
       .log = {}}));
  MockRing ring{machine->memory(), 0x600000, 8};
  EchoDevice* echo = nullptr;
};

// One whose driver is ready and has this message for the queue's vector, still masked.
void set_up(PciMachine& guest, const MsiMessage& message) {
  guest.boot();
  microvm::test::start_driver(guest.transport(), kFeatureVersion1, {&guest.ring});
  guest.mask(1, true);
  guest.set_message(1, message);
  REQUIRE(guest.goes_on());
}

uint64_t config_address(uint32_t slot, uint32_t offset) {
  return layout::kPciConfig + layout::virtio_pci_device(slot) * 0x8000ull + offset;
}

}  // namespace

TEST_CASE("pci: a guest finds its devices in the configuration window and behind their BARs") {
  WorkerProcess worker;
  Code guest;
  guest.map_devices()
      .map_device_page(layout::kPciConfig)
      .map_device_page(layout::virtio_pci_address(kRngSlot));
  guest.point_at(config_address(kRngSlot, 0)).load_eax().write_al_to_port(layout::kSerialPort);
  guest.point_at(config_address(0, 0)).load_eax().write_al_to_port(layout::kSerialPort);  // no disk
  guest.point_at(config_address(kRngSlot, pci::kCommand)).set_eax(pci::kMemoryOn).store_eax();
  guest.point_at(layout::virtio_pci_address(kRngSlot) + pci::kMsixTableAt + 12)
      .load_eax()
      .write_al_to_port(layout::kSerialPort);  // masked
  guest.power_off();
  worker.run(guest, kOnPci);
  CHECK(worker.owner().wait_for<wire::ExitEvent>().reason == wire::ExitEvent::Reason::power_off);
  worker.wait_exit();
  CHECK(read_file(worker.files().kernel_log.get()) == "\xf4\xff\x01");
}

TEST_CASE("pci: an interrupt is the message that the guest named, once its vector is unmasked") {
  PciMachine guest;
  set_up(guest, kEndsGuest);
  guest.answer_request();
  CHECK(guest.goes_on());
  guest.mask(1, false);
  CHECK(guest.ends());
}

// What was raised for the old place may be on its way there: it comes to the new one as well.
TEST_CASE("pci: a message that is moved takes along what may be on its way") {
  constexpr MsiMessage kMoved{kEndsGuest.address, kEndsGuest.data + 1};
  PciMachine guest;
  set_up(guest, kEndsGuest);
  guest.mask(1, false);
  SUBCASE("once it is in KVM's table") {
    const auto end = std::chrono::steady_clock::now() + 4 * MsiRoutes::kSettleTime;
    while (std::chrono::steady_clock::now() < end) guest.loop->run_once(5ms);
    REQUIRE_FALSE(guest.has_ended);
    guest.set_message(1, kMoved);
    CHECK(guest.ends());
  }
  SUBCASE("and before that, when each is sent by a call, nothing is") {
    guest.set_message(1, kMoved);
    CHECK(guest.goes_on());
    guest.answer_request();
    CHECK(guest.ends());
  }
}

TEST_CASE("pci: a message to no interrupt controller goes nowhere") {
  PciMachine guest;
  set_up(guest, {0x1000, kEndsGuest.data});
  guest.mask(1, false);
  guest.answer_request();
  CHECK(guest.ring.used_index() == 1);
  CHECK(guest.goes_on());
  guest.set_message(1, kEndsGuest);
  guest.answer_request();
  CHECK(guest.ends());
}

TEST_CASE("pci: after a restore interrupts go where they went") {
  const base::Fd memory = memory_file();
  const base::Fd state = memory_file();
  {
    PciMachine guest;
    set_up(guest, kEndsGuest);
    guest.mask(1, false);
    must(snapshot::save(*guest.machine, memory.get(), state.get()));
  }
  PciMachine clone;
  must(snapshot::restore(*clone.machine,
                         {.memory = memory.get(), .state = state.get(), .overlays = {}}));
  clone.machine->run();
  REQUIRE(clone.goes_on());
  clone.answer_request();
  CHECK(clone.ends());
}

TEST_CASE("pci: a snapshot is refused by a machine with another transport") {
  Captured captured;
  {
    WorkerProcess worker;
    worker.run(counting_guest(), kOnPci);
    worker.kernel_log(10);
    captured = capture(worker.owner());
  }
  const auto zeros = zero_memory();
  WorkerProcess other;
  CHECK(start_clone(other, zeros, {&captured}) == ErrorCode::invalid_argument);
  WorkerProcess same;
  CHECK(start_clone(same, zeros, {&captured}, kOnPci) == ErrorCode{});
  same.kernel_log(10);
}
