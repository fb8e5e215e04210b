// A machine in this process: with a device that keeps what it was given, and what leaves its guest.
#include "vmm/machine/machine.hpp"

#include <fcntl.h>

#include <atomic>
#include <memory>

#include "kvm_stats.hpp"
#include "raw_guest.hpp"
#include "tiny_guest.hpp"
#include "unit/vmm/virtio/echo_device.hpp"
#include "unit/vmm/virtio/mock_driver.hpp"
#include "vmm/snapshot/capture.hpp"
#include "vmm/virtio/vsock/vsock.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm;
using namespace microvm::vmm::test;
using microvm::test::EchoDevice;
using microvm::test::MockRing;
using namespace std::chrono_literals;

namespace {

// Runs a guest that prints; the device stands where the random number generator would.
struct RunningMachine {
  explicit RunningMachine(const Code& guest = counting_guest()) {
    auto device = std::make_unique<EchoDevice>();
    echo = device.get();
    must(machine->attach(std::make_unique<VsockDevice>(*loop)));
    must(machine->attach(std::move(device)));
    must(machine->boot_linux({.kernel = guest.elf(), .initramfs = {}, .cmdline = ""}));
    machine->run();
  }

  Transport& transport() {
    for (const auto& slot : machine->slots()) {
      if (slot->row().kind->type == DeviceType::rng) return *slot->transport();
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
  struct Counts {
    uint64_t characters;
    uint64_t exits;
  };
  // What it does from where it stands until it has printed at least so much. Leaves it paused.
  Counts run_until_printed(uint64_t characters) {
    const Counts before{printed, vcpu_exits()};
    machine->run();
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (printed < before.characters + characters && std::chrono::steady_clock::now() < end) {
      loop->run_once(1ms);
    }
    must(machine->pause());
    return {printed - before.characters, vcpu_exits() - before.exits};
  }

  static constexpr uint64_t kBuffer = 0x700000;
  std::atomic<uint64_t> printed{0};
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  std::unique_ptr<Machine> machine = must(
      Machine::shape(*loop, must(kvm::Kvm::open(base::Fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)))),
                     {.memory_bytes = 16 << 20, .vcpus = 1, .disks = 0},
                     {.console = [this](uint8_t) { ++printed; }, .ended = {}, .log = {}}));
  MockRing ring{machine->memory(), 0x600000, 8};
  EchoDevice* echo = nullptr;
};

}  // namespace

TEST_CASE("machine: a device that does not finish ends a quiesce at its deadline") {
  RunningMachine guest;
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
  RunningMachine guest;
  guest.make_busy();
  guest.loop->after(50ms, [&] { guest.echo->release_all(); });
  CHECK(guest.machine->quiesce(2s));
  CHECK(guest.ring.used_index() == 1);
}

TEST_CASE("machine: that it was captured makes its guest leave no more often") {
  constexpr uint32_t kPages = 2048;
  constexpr uint64_t kCharacters = 50;
  Code code;
  code.touch_pages(kTouchedAddress, kPages, kPage);
  code.write_port(layout::kSerialPort, '.').jump_to(0);
  RunningMachine guest(code);
  guest.run_until_printed(kCharacters);  // its memory is there now
  const auto before = guest.run_until_printed(kCharacters);
  const base::Fd pages = memory_file();
  const base::Fd state = memory_file();
  const auto captured =
      snapshot::capture(*guest.machine, {.pages = pages.get(), .state = state.get()},
                        {.pages = snapshot::Pages::written, .short_pause = true});
  REQUIRE(captured);
  CHECK(captured->page_bytes >= kPages * kPage);
  const auto after = guest.run_until_printed(kCharacters);
  REQUIRE(after.characters >= kCharacters);
  const uint64_t expected = before.exits * after.characters / before.characters;
  MESSAGE("exits: " << after.exits << ", without a capture " << expected);
  // The host's interrupts are among them, and do not come as often each time.
  CHECK(after.exits < expected + kPages / 2);
}
