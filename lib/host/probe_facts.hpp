// What a guest of the deep probe says of its clocks and its randomness, and whether that is right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/base/limits.hpp"
#include "microvm/vm.hpp"

namespace microvm::host {

struct GuestFacts {
  int64_t monotonic_ns = 0;
  int64_t boot_ns = 0;
  int64_t wall_ns = 0;
  uint32_t cpus = 0;
  uint32_t steps_backwards = 0;  // of its clock, from processor to processor
  std::string random;            // hexadecimal
  // Of the host, right before and after it was asked.
  int64_t host_before_ns = 0;
  int64_t host_after_ns = 0;
  int64_t wall_before_ns = 0;
  int64_t wall_after_ns = 0;
};

// Runs the program of base/probe_guest.cpp. Errors: guest_failed (what it said), those of an exec.
Result<GuestFacts> ask_guest(Vm& vm, const Limits& limits);
// The host's clock that goes on while it sleeps.
[[nodiscard]] int64_t host_now_ns();

// How far the guest's wall clock was from where it could be.
[[nodiscard]] int64_t wall_error_ns(const GuestFacts& facts);
[[nodiscard]] std::string in_ms(int64_t ns);

// What is wrong; empty: nothing.
[[nodiscard]] std::string find_wrong_clones(const std::vector<GuestFacts>& clones, uint32_t vcpus);
// Of one guest before and after a suspend, of which it was away for so long at least.
[[nodiscard]] std::string find_wrong_clocks(const GuestFacts& before, const GuestFacts& after,
                                            int64_t slept_ns);

}  // namespace microvm::host
