// What a worker takes of this machine, as /proc tells it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace microvm::vmm::test {

struct WorkerMemory {
  uint64_t rss_kib = 0;
  uint64_t pss_kib = 0;
  // Of the rest, without the mappings of its guest's memory; private: in this process alone.
  uint64_t rss_beyond_guest_kib = 0;
  uint64_t private_beyond_guest_kib = 0;
};

// `guest_file`: how the name of the file that is mapped as guest memory ends. A worker that has
// none yet has reserved its addresses, which are no memory.
[[nodiscard]] WorkerMemory worker_memory(pid_t pid, std::string_view guest_file);

// Of the kernel's, for its address space; KVM has its own beside them.
[[nodiscard]] uint64_t page_tables_kib(pid_t pid);
// What it has used of the processors so far.
[[nodiscard]] std::chrono::nanoseconds cpu_time_of(pid_t pid);
struct ThreadCounts {
  size_t own = 0;
  size_t of_kernel = 0;  // KVM's, for a VM that has run; io_uring's, while a file is slow
};
[[nodiscard]] ThreadCounts threads_of(pid_t pid);
[[nodiscard]] size_t files_of(pid_t pid);

}  // namespace microvm::vmm::test
