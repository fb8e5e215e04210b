// What shows that a guest is in use, counted where it happens.
#pragma once

#include <atomic>
#include <cstdint>

namespace microvm::agent {

// Any thread.
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

}  // namespace microvm::agent
