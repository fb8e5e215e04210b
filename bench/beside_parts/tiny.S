# A 64-bit guest without a kernel, as those of test/kvm are: writes to the serial port again and again, so that the
# first byte after a load tells that it runs.
.globl _start
_start:
  mov $0x3f8, %dx
again:
  mov $'T', %al
  out %al, %dx
  mov $200, %ecx
spin:
  dec %ecx
  jnz spin
  jmp again
