// Linux with its devices on PCI.
#include "fixture.hpp"

using namespace guest_test;

TEST_CASE("pci: a guest finds its devices there, with a message for each queue") {
  RunningVm vm = run_counter();
  const std::string devices = shell(vm, "cat /sys/bus/pci/devices/*/device");
  // Bridge, block (the root's and the modules'), vsock, rng, net.
  CHECK(devices == "0x0008\n0x1042\n0x1042\n0x1053\n0x1044\n0x1041\n");
  const std::string interrupts = shell(vm, "cat /proc/interrupts");
  INFO(interrupts);
  for (const char* name : {"virtio0-config", "virtio0-req.0", "virtio2-rx", "virtio2-tx",
                           "virtio4-input.0", "virtio4-output.0"}) {
    CHECK(has(interrupts, name));
  }
  CHECK(has(interrupts, "PCI-MSIX"));
  // What Linux says of windows and BARs that do not fit.
  CHECK(shell(vm, "dmesg | grep -i pci | grep -i \"can't\\|conflict\\|error\\|failed\" || true") ==
        "");
}
