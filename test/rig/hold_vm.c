/*
 * Holds one small VM open until it is killed, and prints "held" once it exists.
 *
 * Creating the first and destroying the last VM makes KVM patch the preempt-notifier branch in the running kernel;
 * the emulator under the rig does not always order that between CPUs (Oops: int3 in __schedule, about once in 130
 * cycles). While this VM lives, no other is ever the first or the last.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) {
    perror("hold_vm: open /dev/kvm");
    return 1;
  }
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) {
    perror("hold_vm: KVM_CREATE_VM");
    return 1;
  }
  if (ioctl(vm, KVM_CREATE_VCPU, 0) < 0) {
    perror("hold_vm: KVM_CREATE_VCPU");
    return 1;
  }
  puts("held");
  fflush(stdout);
  for (;;) pause();
}
