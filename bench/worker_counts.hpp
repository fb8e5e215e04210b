// What a worker does, counted from outside without slowing it as a tracer would.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

// The system calls of all threads that a process has, and of those they start. Needs the kernel's
// tracepoints: root, or a host that lets others see them.
class SystemCalls {
 public:
  explicit SystemCalls(uint32_t pid);
  ~SystemCalls();
  SystemCalls(const SystemCalls&) = delete;
  SystemCalls& operator=(const SystemCalls&) = delete;

  // Since it was made; empty where they cannot be counted.
  [[nodiscard]] std::optional<uint64_t> count() const;

 private:
  std::vector<int> counters_;  // one for each thread
};

// Of /proc/interrupts in a guest: those of a virtio device ("virtio0"), on all its vectors.
uint64_t interrupts_of(const std::string& interrupts, const std::string& device);

}  // namespace bench
