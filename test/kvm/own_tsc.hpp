// Whether this KVM gives guests a time stamp counter of their own.
#pragma once

#include <x86intrin.h>

#include <array>

#include "raw_guest.hpp"

namespace microvm::vmm::test {

// A paravirtual KVM lets guests read the host's, which nobody can set or stop.
inline bool a_guest_has_a_tsc_of_its_own() {
  // rdtsc; shl rdx, 32; or rax, rdx; mov [0x200000], rax; hlt
  constexpr std::array<uint8_t, 18> kCode = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0,
                                             0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0xf4};
  const uint64_t host = __rdtsc();
  RawGuest guest(std::as_bytes(std::span(kCode)));
  REQUIRE(guest.vcpu.run().kind == kvm::Exit::Kind::halt);
  uint64_t its = 0;
  REQUIRE(guest.memory.read(0x200000, its));
  REQUIRE(its > 0);
  return its < host;
}

}  // namespace microvm::vmm::test
