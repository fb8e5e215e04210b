#include "worker_memory.hpp"

#include <time.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace microvm::vmm::test {
namespace {

uint64_t kib_of(const std::string& line) {
  return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10);
}

// The start of a mapping: "55d0c000-55d0d000 rw-p …".
bool is_mapping_line(const std::string& line) {
  return line.find('-') < line.find(' ');
}

std::string process_directory(pid_t pid) {
  return "/proc/" + std::to_string(pid);
}

}  // namespace

WorkerMemory worker_memory(pid_t pid, std::string_view guest_file) {
  std::ifstream lines(process_directory(pid) + "/smaps");
  WorkerMemory memory;
  bool guest = false;
  for (std::string line; std::getline(lines, line);) {
    if (is_mapping_line(line)) guest = line.ends_with(guest_file);
    if (line.starts_with("Pss:")) memory.pss_kib += kib_of(line);
    if (line.starts_with("Rss:")) memory.rss_kib += kib_of(line);
    if (guest) continue;
    if (line.starts_with("Rss:")) memory.rss_beyond_guest_kib += kib_of(line);
    if (line.starts_with("Private_")) memory.private_beyond_guest_kib += kib_of(line);
  }
  return memory;
}

uint64_t page_tables_kib(pid_t pid) {
  std::ifstream lines(process_directory(pid) + "/status");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("VmPTE:")) return kib_of(line);
  }
  return 0;
}

std::chrono::nanoseconds cpu_time_of(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return {};
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

ThreadCounts threads_of(pid_t pid) {
  ThreadCounts counts;
  for (const auto& task : std::filesystem::directory_iterator(process_directory(pid) + "/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    std::getline(file, name);
    ++(name.starts_with("kvm-") || name.starts_with("iou-") ? counts.of_kernel : counts.own);
  }
  return counts;
}

size_t files_of(pid_t pid) {
  const std::filesystem::directory_iterator files(process_directory(pid) + "/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

}  // namespace microvm::vmm::test
