// Linux with its devices on PCI.
#include "fixture.hpp"

using namespace guest_test;

TEST_CASE("pci: a guest finds its devices there, with a message for each queue") {
  RunningVm vm = run_counter();
  const std::string devices = shell(vm, "cat /sys/bus/pci/devices/*/device");
  CHECK(devices == "0x0008\n0x1042\n0x1053\n0x1044\n");  // bridge, block, vsock, rng
  const std::string interrupts = shell(vm, "cat /proc/interrupts");
  INFO(interrupts);
  for (const char* name : {"virtio0-config", "virtio0-req.0", "virtio1-rx", "virtio1-tx"}) {
    CHECK(has(interrupts, name));
  }
  CHECK(has(interrupts, "PCI-MSIX"));
  // What Linux says of windows and BARs that do not fit.
  CHECK(shell(vm, "dmesg | grep -i pci | grep -i \"can't\\|conflict\\|error\\|failed\" || true") ==
        "");
}
