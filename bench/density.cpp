// What idle clones of one image cost in memory, at each of the given numbers of clones. Many of
// them, with tiny guests: test/kvm/density_bench.cpp.
//   density DATA_DIRECTORY IMAGE COUNT...
// A number for which the memory does not suffice is left out of the report.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

constexpr std::chrono::seconds kSettleTime{2};  // what the launch woke up is asleep again
constexpr uint64_t kReserveKib = 256 << 10;     // kept free on this machine

struct Memory {
  double rss_kib = 0;
  double pss_kib = 0;
  double guest_rss_kib = 0;
  double private_beyond_guest_kib = 0;  // in this process alone
};

double kib_of(const std::string& line) {
  return std::strtod(line.c_str() + line.find(':') + 1, nullptr);
}

// The start of a mapping: "55d0c000-55d0d000 rw-p …".
bool is_mapping_line(const std::string& line) {
  return line.find('-') < line.find(' ');
}

// Guest memory is the mapping of the snapshot's memory, pages the clone has written included.
Memory worker_memory(uint32_t pid) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps");
  Memory memory;
  bool guest = false;
  for (std::string line; std::getline(lines, line);) {
    if (is_mapping_line(line)) guest = line.ends_with("/memory");
    if (line.starts_with("Pss:")) memory.pss_kib += kib_of(line);
    if (!guest && line.starts_with("Private_")) memory.private_beyond_guest_kib += kib_of(line);
    if (!line.starts_with("Rss:")) continue;
    memory.rss_kib += kib_of(line);
    if (guest) memory.guest_rss_kib += kib_of(line);
  }
  if (memory.guest_rss_kib == 0)
    bench::fail("no guest memory in /proc/" + std::to_string(pid) + "/smaps: may it be read?");
  return memory;
}

// Of KVM and io_uring too, which are in the process: a thread for each VM that has run.
double entries_of(uint32_t pid, const char* directory) {
  const std::filesystem::directory_iterator entries("/proc/" + std::to_string(pid) + directory);
  return static_cast<double>(std::distance(begin(entries), end(entries)));
}

double available_kib() {
  std::ifstream lines("/proc/meminfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("MemAvailable:")) return kib_of(line);
  }
  return 0;
}

// False when the memory does not suffice for all of them.
bool launch_until(microvm::Runtime& runtime, const std::string& image, uint32_t count,
                  std::vector<microvm::Vm>& vms) {
  while (vms.size() < count) {
    if (available_kib() < kReserveKib) return false;
    vms.push_back(need(runtime.run(image)));
  }
  return true;
}

bench::Json measure(const std::vector<microvm::Vm>& vms, double available_before_kib) {
  bench::Series rss, pss, guest, beyond, own, threads, files;
  for (const microvm::Vm& vm : vms) {
    const uint32_t pid = need(vm.info()).worker_pid;
    const Memory memory = worker_memory(pid);
    rss.add(memory.rss_kib);
    pss.add(memory.pss_kib);
    guest.add(memory.guest_rss_kib);
    beyond.add(memory.rss_kib - memory.guest_rss_kib);
    own.add(memory.private_beyond_guest_kib);
    threads.add(entries_of(pid, "/task"));
    files.add(entries_of(pid, "/fd"));
  }
  const double used_kib = available_before_kib - available_kib();
  return {{"clones", vms.size()},
          {"worker_rss_kib", rss.json()},
          {"worker_pss_kib", pss.json()},
          {"guest_memory_rss_kib", guest.json()},
          {"rss_beyond_guest_memory_kib", beyond.json()},
          {"private_beyond_guest_memory_kib", own.json()},
          {"threads", threads.json()},
          {"files", files.json()},
          {"machine_memory_per_clone_kib", used_kib / static_cast<double>(vms.size())}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) bench::fail("usage: density DATA_DIRECTORY IMAGE COUNT...");
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  const auto info = need(runtime.image(argv[2]));
  const double available_before_kib = available_kib();
  std::vector<microvm::Vm> vms;
  bench::Json levels = bench::Json::array();
  for (int i = 3; i < argc; ++i) {
    bench::say("density: " + std::string(argv[i]) + " clones");
    if (!launch_until(runtime, argv[2], bench::positive_number(argv[i]), vms)) break;
    std::this_thread::sleep_for(kSettleTime);
    levels.push_back(measure(vms, available_before_kib));
  }
  for (microvm::Vm& vm : vms) need(vm.terminate());
  bench::print_report("density", {{"image", info.name + ":" + info.version},
                                  {"guest_memory_mib", info.memory_bytes >> 20},
                                  {"launched", vms.size()},
                                  {"levels", levels}});
  return 0;
}
