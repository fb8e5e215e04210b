// A machine with a device that keeps what it was given.
#include "vmm/machine/machine.hpp"

#include "raw_guest.hpp"
#include "tiny_guest.hpp"
#include "unit/vmm/virtio/echo_device.hpp"
#include "unit/vmm/virtio/mock_driver.hpp"
#include "vmm/virtio/vsock.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using microvm::test::EchoDevice;
using microvm::test::MockRing;
using namespace std::chrono_literals;

namespace {

// Runs a guest that counts; the device stands where the random number generator would.
struct CountingMachine {
  CountingMachine() {
    auto device = std::make_unique<EchoDevice>();
    echo = device.get();
    must(machine->attach(layout::kVsockSlot, std::make_unique<VsockDevice>(*loop)));
    must(machine->attach(layout::kRngSlot, std::move(device)));
    must(machine->boot_linux({.kernel = counting_guest().elf(), .initramfs = {}, .cmdline = ""}));
    machine->run();
  }

  MmioTransport& transport() {
    for (const auto& slot : machine->slots()) {
      if (slot->number == layout::kRngSlot) return *slot->transport;
    }
    FAIL("no such slot");
    std::abort();
  }
  // A request that the device has taken and does not answer.
  void make_busy() {
    microvm::test::start_driver(transport(), kFeatureVersion1, {&ring});
    echo->hold = true;
    ring.describe(0, {kBuffer, 8, microvm::test::kWrite});
    ring.offer(0);
    transport().kick(0);
    REQUIRE(echo->held.size() == 1);
  }
  bool goes_on() {
    const uint64_t before = printed;
    return microvm::test::run_until(*loop, [&] { return printed > before; });
  }

  static constexpr uint64_t kBuffer = 0x700000;
  std::atomic<uint64_t> printed{0};
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  std::unique_ptr<Machine> machine = must(Machine::shape(
      *loop, must(kvm::Kvm::open(base::Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)))),
      {.memory_bytes = 16 << 20, .vcpus = 1, .disks = 0},
      {.console = [this](uint8_t) { ++printed; }, .ended = {}, .log = {}}));
  MockRing ring{machine->memory(), 0x600000, 8};
  EchoDevice* echo = nullptr;
};

}  // namespace

TEST_CASE("machine: a device that does not finish ends a quiesce at its deadline") {
  CountingMachine guest;
  REQUIRE(guest.goes_on());
  guest.make_busy();
  const auto begin = std::chrono::steady_clock::now();
  const auto quiet = guest.machine->quiesce(200ms);
  REQUIRE_FALSE(quiet);
  CHECK(quiet.error().code == ErrorCode::deadline_exceeded);
  CHECK(std::chrono::steady_clock::now() - begin >= 200ms);
  CHECK_FALSE(guest.machine->running());

  guest.machine->run();
  CHECK(guest.goes_on());
  guest.echo->release_all();
  CHECK(guest.machine->quiesce(2s));
  CHECK(guest.ring.used_index() == 1);
  guest.machine->run();
  CHECK(guest.goes_on());
}

TEST_CASE("machine: a request that finishes within the deadline is waited for") {
  CountingMachine guest;
  guest.make_busy();
  guest.loop->after(50ms, [&] { guest.echo->release_all(); });
  CHECK(guest.machine->quiesce(2s));
  CHECK(guest.ring.used_index() == 1);
}
