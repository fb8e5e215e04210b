// What this host can do, and what would make it better: the facts behind `microvm doctor`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"
#include "microvm/image.hpp"

namespace microvm {

// One thing that was looked at.
struct Finding {
  enum class State {
    ok,
    notice,   // microVMs run; something is slower or less safe than it could be
    problem,  // they do not run, or not for long
  };
  std::string name;  // "kvm", "kernel", "clocksource", …; stays the same, for programs
  State state = State::ok;
  std::string is;      // what was found
  std::string advice;  // what to change; empty: nothing
  std::string cost;    // what it costs to leave it; empty: nothing
};
MICROVM_API const char* finding_state_name(Finding::State state) noexcept;

struct ProbeOptions {
  std::filesystem::path data_dir;  // as in RuntimeOptions
};

// Runs tiny guests on /dev/kvm to see what it really executes, and reads what the kernel tells.
// Takes some ten milliseconds, changes nothing. "kvm" is first. Errors: cancelled,
// deadline_exceeded.
MICROVM_API Result<std::vector<Finding>> probe_host(const ProbeOptions& options = {},
                                                    const CallLimits& limits = {});

// Only the question whether a stock kernel will run. Errors: kvm_unavailable, kvm_unsuitable.
MICROVM_API Result<void> probe_kvm(const CallLimits& limits = {});

struct DeepProbeOptions {
  std::filesystem::path data_dir;    // whose newest kernel is booted; as in RuntimeOptions
  std::filesystem::path kernel_deb;  // a Debian linux-image to boot instead
  // Where the probe makes a directory for itself, which it removes again. Empty: the system's place
  // for temporary files.
  std::filesystem::path scratch_dir;
  uint32_t clones = 20;
  uint32_t suspends = 20;
  ProgressSink progress;
};

// One thing that was done, so many times.
struct ProbeStep {
  enum class State {
    passed,
    failed,
    skipped,  // could not be tried here, or there was no time left; `detail` says why
  };
  std::string name;
  State state = State::passed;
  std::string detail;
  uint64_t count = 0;  // how often
  double p50_ms = 0;   // of each time; 0: not timed
  double most_ms = 0;
};
MICROVM_API const char* probe_step_state_name(ProbeStep::State state) noexcept;

// Of the machine, its kernel and what was seen, and nothing of who uses it: no names, paths or ids.
struct DeepReport {
  std::string cpu_model;
  std::string microcode;
  uint32_t cpus = 0;
  uint64_t memory_bytes = 0;
  std::string kernel;
  std::map<std::string, std::string> kvm_parameters;  // "kvm.nx_huge_pages": "Y"
  std::vector<Finding> findings;
  std::vector<ProbeStep> steps;
  uint64_t took_ms = 0;

  // No step failed and no finding is a problem.
  [[nodiscard]] MICROVM_API bool passed() const noexcept;
};

// Runs tiny guests with 1 to 8 vCPUs and, where Linux runs and there is a kernel, a guest with two
// vCPUs: boot, snapshot, clones, suspends, with looks at clocks and randomness. Needs no root and
// leaves nothing behind. Two minutes at most, unless `limits` say otherwise: what there was no time
// for is skipped. Errors: cancelled; io (no scratch directory).
MICROVM_API Result<DeepReport> deep_probe(const DeepProbeOptions& options = {},
                                          const CallLimits& limits = {});

}  // namespace microvm
