/*
 * Holds two small VMs open until it is killed, and prints "held" once they exist.
 *
 * KVM patches branches of the running kernel when the first VM comes and the last one goes (preempt notifiers), and
 * when the number of vCPUs whose local APIC is off, or missing, leaves or reaches zero. The emulator under the rig does
 * not always order such patching between CPUs (Oops: int3 in __schedule, about once in 130 VMs). A vCPU with an APIC
 * that is never switched on and one without keep all these numbers above zero.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int hold(int kvm, int with_irqchip) {
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) {
    perror("hold_vm: KVM_CREATE_VM");
    return -1;
  }
  if (with_irqchip && ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) {
    perror("hold_vm: KVM_CREATE_IRQCHIP");
    return -1;
  }
  if (ioctl(vm, KVM_CREATE_VCPU, 0) < 0) {
    perror("hold_vm: KVM_CREATE_VCPU");
    return -1;
  }
  return 0;
}

int main(void) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) {
    perror("hold_vm: open /dev/kvm");
    return 1;
  }
  if (hold(kvm, 1) < 0 || hold(kvm, 0) < 0) return 1;
  puts("held");
  fflush(stdout);
  for (;;) pause();
}
