// What this host can do: the facts behind `microvm doctor`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "microvm/error.hpp"

namespace microvm {

struct ProbeItem {
  enum class Status { ok, degraded, missing };
  std::string name;  // "kvm", "kernel", "io_uring", "pagemap_scan", "disk", "memory"
  Status status = Status::ok;
  std::string detail;  // what was found
  std::string advice;  // what to do, empty when nothing
};

// Runs tiny guests on /dev/kvm to see what it really executes. Takes some milliseconds. `data_dir`
// as in RuntimeOptions.
MICROVM_API std::vector<ProbeItem> probe_host(const std::filesystem::path& data_dir = {});

// Only the question whether a stock kernel will run. Errors: kvm_unavailable, kvm_unsuitable.
MICROVM_API Result<void> probe_kvm();

}  // namespace microvm
