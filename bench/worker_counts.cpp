#include "worker_counts.hpp"

#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace bench {
namespace {

constexpr char kTraceDirectory[] = "/sys/kernel/tracing";

std::optional<uint64_t> read_id() {
  std::ifstream file(std::string(kTraceDirectory) + "/events/raw_syscalls/sys_enter/id");
  uint64_t id = 0;
  if (file >> id) return id;
  return std::nullopt;
}

// A small machine has it not mounted.
std::optional<uint64_t> id_of_system_calls() {
  if (const auto id = read_id()) return id;
  if (::mount("tracefs", kTraceDirectory, "tracefs", 0, nullptr) != 0) return std::nullopt;
  return read_id();
}

int open_counter(uint64_t id, pid_t thread) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof attributes;
  attributes.config = id;
  attributes.inherit = 1;
  return static_cast<int>(
      ::syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

}  // namespace

SystemCalls::SystemCalls(uint32_t pid) {
  const auto id = id_of_system_calls();
  if (!id) return;
  const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    const int fd = open_counter(*id, std::stoi(task.path().filename()));
    if (fd >= 0) counters_.push_back(fd);
  }
}

SystemCalls::~SystemCalls() {
  for (const int fd : counters_) ::close(fd);
}

std::optional<uint64_t> SystemCalls::count() const {
  if (counters_.empty()) return std::nullopt;
  uint64_t sum = 0;
  for (const int fd : counters_) {
    uint64_t one = 0;
    if (::read(fd, &one, sizeof one) == sizeof one) sum += one;
  }
  return sum;
}

// A line is the number, a count for each processor, the chip, and who takes it: "virtio0" over
// MMIO, "virtio0-config" and "virtio0-req.0" over PCI.
uint64_t interrupts_of(const std::string& interrupts, const std::string& device) {
  uint64_t sum = 0;
  std::istringstream lines(interrupts);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;  // "24:"
    uint64_t here = 0;
    bool its_own = false;
    for (bool counting = true; words >> word;) {
      counting = counting && word.find_first_not_of("0123456789") == std::string::npos;
      if (counting) here += std::stoull(word);
      its_own = its_own || word == device || word.starts_with(device + "-");
    }
    if (its_own) sum += here;
  }
  return sum;
}

}  // namespace bench
