// What keeps a guest awake: the host asks, its idle policy decides.
#pragma once

#include <atomic>
#include <cstdint>

#include "agent/channel.hpp"

namespace microvm::agent {

struct Guest;

// Programs in the guest hold it awake, or ask for its suspension, with a file of these names.
inline constexpr const char* kKeepAwakeFile = "/run/microvm/keep-awake";
inline constexpr const char* kSuspendFile = "/run/microvm/suspend";

// Counted where it happens; any thread.
struct ActivityCounters {
  std::atomic<uint32_t> programs{0};
  std::atomic<uint64_t> stream_bytes{0};
};

// What is under way keeps the guest awake.
class Counted {
 public:
  explicit Counted(std::atomic<uint32_t>& count) : count_(count) { count_++; }
  ~Counted() { count_--; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<uint32_t>& count_;
};

// Answers activity_report.
[[nodiscard]] Outcome<void> run_activity(Guest& guest, Channel& channel);

}  // namespace microvm::agent
