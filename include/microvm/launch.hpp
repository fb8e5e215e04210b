// How a microVM starts, from an image or as a fork, and what that cost.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "microvm/idle.hpp"
#include "microvm/network.hpp"

namespace microvm {

struct RunOptions {
  std::string name;             // empty: none; unique in the Runtime, usable instead of the id
  bool dies_with_owner = true;  // false: the Vm outlives the process that started it
  // Until the agent is ready; the first launch of an image checks its files before that.
  std::chrono::milliseconds start_timeout{30'000};
  IdlePolicy idle;
  // For the image's run hook (hooks.hpp): UTF-8, at most 64 KiB. Error invalid_argument when it is
  // not, or when the image has no such hook.
  std::string run_hook_payload;
  // Error unsupported: mode user or tap, and the image has no network device, as those of before
  // have not.
  NetworkOptions network;
};

struct ForkOptions {
  uint32_t count = 1;           // 1 to 1,000
  std::string name;             // of the fork; of several: the beginning, "-1", "-2" … are added
  bool dies_with_owner = true;  // as in RunOptions
  std::chrono::milliseconds start_timeout{60'000};  // for each, until its agent is ready
  IdlePolicy idle;
  std::string run_hook_payload;  // the same for each; as in RunOptions
  // Empty: mode and policy of the source. A tap is one Vm's: of a source with one say what each
  // gets, and with a tap fork one at a time.
  std::optional<NetworkOptions> network;
};

// What a launch cost, from run() being called. Microseconds.
struct LaunchTimes {
  uint64_t worker_us = 0;   // a worker was at hand (pooled) or started
  uint64_t restore_us = 0;  // … the guest executed its first instruction
  uint64_t agent_us = 0;    // … the agent connected
  uint64_t ready_us = 0;    // … identity applied, user processes run; the run hook comes after it
};

}  // namespace microvm
