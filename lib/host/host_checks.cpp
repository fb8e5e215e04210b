#include "host/host_checks.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

#include "sys/file.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;
using State = Finding::State;

constexpr uint64_t kMib = 1ull << 20;
constexpr uint64_t kGib = 1ull << 30;
constexpr size_t kMaxFactBytes = 16 * kMib;  // /proc/cpuinfo of a large host

std::string in_gib(uint64_t bytes) {
  const uint64_t tenths = bytes / (kGib / 10);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

Finding fine(std::string is) {
  return {{}, State::ok, std::move(is), {}, {}};
}

Finding notice(std::string is, std::string advice, std::string cost) {
  return {{}, State::notice, std::move(is), std::move(advice), std::move(cost)};
}

Finding problem(std::string is, std::string advice, std::string cost = {}) {
  return {{}, State::problem, std::move(is), std::move(advice), std::move(cost)};
}

// The value in brackets: "always [madvise] never".
std::string chosen(const std::string& text) {
  const size_t begin = text.find('[');
  const size_t end = text.find(']', begin);
  return end == std::string::npos ? std::string() : text.substr(begin + 1, end - begin - 1);
}

// ---- the kernel --------------------------------------------------------------------------------

constexpr unsigned kOldestTried = 510;

// What a kernel before this one lacks, and what that costs.
struct KernelLevel {
  unsigned version;
  const char* name;
  const char* cost;
};
constexpr std::array kLevels = {
    KernelLevel{511, "5.11", "a program's files are closed one by one at its start"},
    KernelLevel{513, "5.13", "disks go by threads, not by io_uring"},
    KernelLevel{514, "5.14", "the working set of a clone comes in page by page"},
    KernelLevel{516, "5.16", "a guest's TSC can only be set by value, to the nearest second or so"},
    KernelLevel{601, "6.1", "io_uring interrupts the worker for what completes"},
    KernelLevel{607, "6.7",
                "the pages that a guest wrote are searched while it stands: some 3 ms for each "
                "GiB"},
};

Finding check_kernel(const HostView& host) {
  const std::string is =
      "Linux " + host.read("proc/sys/kernel/osrelease").value_or("(unknown)") + " " + host.machine;
  if (host.machine != "x86_64") return problem(is, "run on an x86-64 host");
  const unsigned version = host.kernel_version();
  if (version < kOldestTried) {
    return problem(is, "a kernel of 5.10 or newer, at best 6.7 or newer",
                   "nobody has tried this library on it");
  }
  std::string cost;
  for (const KernelLevel& level : kLevels) {
    if (version >= level.version) continue;
    cost += (cost.empty() ? "before " : "; before ") + std::string(level.name) + " " + level.cost;
  }
  return cost.empty() ? fine(is) : notice(is, "a kernel of 6.7 or newer", cost);
}

Finding check_pagemap_scan(const HostView& host) {
  if (host.has_pagemap_scan) return fine("available");
  return notice("not there; changed pages are found in the page map", "a kernel of 6.7 or newer",
                "suspend, checkpoint and fork hold a guest longer: 8 bytes are read for each page "
                "of its memory");
}

// ---- time --------------------------------------------------------------------------------------

Finding check_clocksource(const HostView& host) {
  const std::string dir = "sys/devices/system/clocksource/clocksource0/";
  const auto now = host.read(dir + "current_clocksource");
  // Guests go by the TSC on both (worker/guest_clock.cpp).
  if (!now || *now == "tsc" || *now == "hyperv_clocksource_tsc_page")
    return fine(now.value_or("not told"));
  const std::string available = host.read(dir + "available_clocksource").value_or("");
  const bool refused = available.find("tsc") == std::string::npos;
  return notice(*now + ", not tsc",
                refused ? "look for \"tsc\" in the kernel's log: it was found unstable, or a host "
                          "above this one hides it"
                        : "boot the host without clocksource=, or write tsc to the "
                          "current_clocksource of clocksource0 in /sys",
                "guests ask the host for the time, which takes a microsecond and more instead of "
                "20 ns");
}

// ---- what the host forbids ---------------------------------------------------------------------

Finding check_io_uring(const HostView& host) {
  if (host.io_uring_error == 0) return fine("available");
  const uint64_t sysctl = host.read_number("proc/sys/kernel/io_uring_disabled").value_or(0);
  const std::string why = sysctl == 0 ? std::string(::strerrordesc_np(host.io_uring_error))
                                      : "kernel.io_uring_disabled is " + std::to_string(sysctl);
  return notice("not available (" + why + "); disks go by threads",
                sysctl == 0 ? "allow io_uring in the container's seccomp profile"
                            : "sysctl kernel.io_uring_disabled=0",
                "a disk request that waits for the host's disk costs two switches of thread more");
}

Finding check_memfd_noexec(const HostView& host) {
  const auto value = host.read_number("proc/sys/vm/memfd_noexec");
  if (!value || *value == 0) return fine("programs may be in memory files");
  if (*value == 1) return fine("vm.memfd_noexec is 1: those that say so");
  return notice("vm.memfd_noexec is 2: no program may be in a memory file",
                "sysctl vm.memfd_noexec=1, or leave it and keep the data directory on a file "
                "system that is not mounted noexec",
                "each Runtime writes its worker, some 3 MiB, into an unnamed file there");
}

// ---- memory ------------------------------------------------------------------------------------

bool is_unasked(const std::string& policy) {
  return policy == "always" || policy == "within_size" || policy == "force";
}

// "hugepages-64kB" → 64 KiB.
uint64_t size_of(const std::string& directory) {
  const size_t at = directory.find('-');
  return at == std::string::npos ? 0 : std::strtoull(directory.c_str() + at + 1, nullptr, 10) << 10;
}

Finding check_shmem_huge_pages(const HostView& host) {
  const std::string dir = "sys/kernel/mm/transparent_hugepage/";
  const std::string all = chosen(host.read(dir + "shmem_enabled").value_or(""));
  uint64_t largest = is_unasked(all) ? 2 * kMib : 0;
  for (const std::string& size : host.list(dir)) {
    const std::string policy = chosen(host.read(dir + size + "/shmem_enabled").value_or(""));
    const bool applies = is_unasked(policy) || (policy == "inherit" && is_unasked(all));
    if (applies) largest = std::max(largest, size_of(size));
  }
  if (largest == 0) return fine("memory files have small pages");
  return notice("memory files get pages of up to " + std::to_string(largest >> 10) + " KiB unasked",
                "write never or advise to shmem_enabled (and hugepages-*/shmem_enabled) in "
                "/sys/kernel/mm/transparent_hugepage",
                is_unasked(all)
                    ? "what a suspend, fork or resume writes goes by the disk instead of memory"
                    : "each page that a guest changed can take that much memory from a suspend, "
                      "fork or resume on");
}

Finding check_memory(const HostView& host) {
  constexpr uint64_t kLittle = 1 * kGib;
  const uint64_t total = std::strtoull(host.field("proc/meminfo", "MemTotal:").c_str(), nullptr, 10)
                         << 10;
  const std::string is = in_gib(total) + " in all";
  if (total >= kLittle) return fine(is);
  return notice(is, "a machine with more memory", "few microVMs fit at a time");
}

Finding check_overcommit(const HostView& host) {
  const uint64_t mode = host.read_number("proc/sys/vm/overcommit_memory").value_or(0);
  if (mode != 2) return fine("vm.overcommit_memory is " + std::to_string(mode));
  return notice("vm.overcommit_memory is 2: all memory is counted, used or not",
                "sysctl vm.overcommit_memory=0, or a vm.overcommit_ratio with room for the guests",
                "each microVM counts with all of its memory, so that the 20 that would fit may be "
                "refused at the third");
}

Finding check_map_count(const HostView& host) {
  constexpr uint64_t kNeeded = 65530;  // the kernel's own value; see GuestMemory::kMaxOverlayRanges
  const auto count = host.read_number("proc/sys/vm/max_map_count");
  if (!count || *count >= kNeeded) return fine("vm.max_map_count is enough");
  return notice("vm.max_map_count is " + std::to_string(*count),
                "sysctl vm.max_map_count=" + std::to_string(kNeeded),
                "a guest whose changed pages are in many places may not resume");
}

// ---- making machines ---------------------------------------------------------------------------

bool has_favordynmods(const HostView& host) {
  std::istringstream mounts(host.read("proc/self/mounts").value_or(""));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, place, type, options;
    words >> device >> place >> type >> options;
    const bool is_cgroup = type == "cgroup2" || type == "cgroup";
    if (is_cgroup && options.find("favordynmods") != std::string::npos) return true;
  }
  return false;
}

// KVM makes a kernel thread for each machine where it has to split huge pages, and attaches it to
// the caller's cgroups, which since 6.0 waits for all CPUs unless told otherwise.
Finding check_vm_creation(const HostView& host) {
  constexpr double kFastMs = 5;
  std::string is = "KVM makes a machine";
  if (host.vm_creation_ms) {
    std::ostringstream time;
    time.precision(1);
    time << std::fixed << *host.vm_creation_ms;
    is += " in " + time.str() + " ms";
  }
  const std::string nx = host.read("sys/module/kvm/parameters/nx_huge_pages").value_or("N");
  const bool splits = nx != "N" && nx != "off" && nx != "never" && nx != "0";
  const bool slow = splits && host.kernel_version() >= 600 && !has_favordynmods(host);
  if (!slow) return fine(is);
  is += "; kvm.nx_huge_pages is " + nx + " and no cgroup is mounted with favordynmods";
  if (host.vm_creation_ms && *host.vm_creation_ms < kFastMs) return fine(is);
  return notice(is,
                "mount -o remount,favordynmods /sys/fs/cgroup; where all guests are trusted also "
                "kvm.nx_huge_pages=never",
                "8 to 50 ms for each worker that is started; a pool of workers hides it");
}

Finding check_nesting(const HostView& host) {
  const std::string flags = " " + host.field("proc/cpuinfo", "flags") + " ";
  if (flags.find(" hypervisor ") == std::string::npos)
    return fine("the host is no virtual machine");
  return notice("the host is a virtual machine itself", "a host with its own processors",
                "each exit of a guest goes through the host above, and takes ten times as long");
}

// ---- limits of the user ------------------------------------------------------------------------

// Of /proc/self/limits; none: unlimited, or not told.
struct UserLimit {
  std::optional<uint64_t> soft;
  std::optional<uint64_t> hard;
};

std::optional<uint64_t> to_limit(const std::string& word) {
  if (word.empty() || word == "unlimited") return std::nullopt;
  return std::strtoull(word.c_str(), nullptr, 10);
}

UserLimit user_limit(const HostView& host, const std::string& name) {
  std::istringstream rest(host.field("proc/self/limits", name));
  std::string soft, hard;
  rest >> soft >> hard;
  return {to_limit(soft), to_limit(hard)};
}

Finding check_open_files(const HostView& host) {
  constexpr uint64_t kPerVm = 8;         // of the process that owns them
  constexpr uint64_t kOfAWorker = 4096;  // with as many streams as it takes
  const UserLimit limit = user_limit(host, "Max open files");
  if (limit.hard && *limit.hard < kOfAWorker) {
    return notice("at most " + std::to_string(*limit.hard) + " open files",
                  "raise the hard limit to " + std::to_string(kOfAWorker) + " (ulimit -Hn)",
                  "a microVM has fewer streams at a time");
  }
  if (!limit.soft || *limit.soft >= kOfAWorker) return fine("enough open files");
  return notice(std::to_string(*limit.soft) + " open files",
                "raise it with ulimit -n 65536, or setrlimit() in the program",
                "a process owns some " + std::to_string(*limit.soft / kPerVm) +
                    " microVMs at a time, fewer with many streams");
}

Finding check_processes(const HostView& host) {
  constexpr uint64_t kPerVm = 4;  // a worker and its threads
  constexpr uint64_t kEnough = 1000;
  const UserLimit limit = user_limit(host, "Max processes");
  if (!limit.soft || *limit.soft / kPerVm >= kEnough) return fine("enough processes");
  return notice(
      std::to_string(*limit.soft) + " processes and threads", "raise it: ulimit -u 65536",
      "some " + std::to_string(*limit.soft / kPerVm) + " microVMs of this user run at a time");
}

Finding check_sizes(const HostView& host) {
  for (const char* name : {"Max address space", "Max file size"}) {
    if (const UserLimit limit = user_limit(host, name); limit.soft && *limit.soft < 64 * kGib) {
      return notice(std::string(name) + " is " + in_gib(*limit.soft), "make it unlimited (ulimit)",
                    "guests or disks larger than that do not start");
    }
  }
  return fine("address space and files have no limit");
}

// Before 5.12 the memory of rings was counted as locked.
Finding check_locked_memory(const HostView& host) {
  constexpr uint64_t kOfARing = 1 * kMib;
  const UserLimit limit = user_limit(host, "Max locked memory");
  if (host.kernel_version() >= 512 || !limit.soft || *limit.soft >= 64 * kOfARing) {
    return fine("does not matter here");
  }
  return notice(std::to_string(*limit.soft >> 10) + " KiB, which rings count against",
                "raise it (ulimit -l), or a kernel of 5.12 or newer",
                "further microVMs' disks go by threads");
}

// ---- the data directory ------------------------------------------------------------------------

Finding check_file_system(const HostView& host) {
  const std::string& type = host.data_file_system;
  if (type.empty()) return fine("not known");
  if (type == "tmpfs") {
    return notice("the data directory is in memory (tmpfs)", "set MICROVM_DATA_DIR to a disk",
                  "images and suspended microVMs take memory, and are gone after a reboot");
  }
  if (type == "nfs" || type == "cifs" || type == "fuse" || type == "9p") {
    return notice("the data directory is on " + type,
                  "set MICROVM_DATA_DIR to a file system of this machine",
                  "locks, holes and unnamed files may not work as needed, and each clone reads its "
                  "memory over the network");
  }
  return fine("the data directory is on " + type);
}

Finding check_disk(const HostView& host) {
  constexpr uint64_t kLittle = 4 * kGib;  // a base image, an image and some Vms
  if (!host.data_free_bytes) {
    return problem("there is no data directory", "give one, or set MICROVM_DATA_DIR or HOME",
                   "nothing can be kept");
  }
  const std::string is = in_gib(*host.data_free_bytes) + " free for the data directory";
  if (*host.data_free_bytes >= kLittle) return fine(is);
  return notice(is, "free some space, or set MICROVM_DATA_DIR",
                "builds and suspends fail when it is full; guests then wait with their writes");
}

// ---- the network -------------------------------------------------------------------------------

constexpr const char* kNoNetwork = "microVMs with network user reach nothing, the default";

Finding check_user_namespaces(const HostView& host) {
  UserNetworkProblem found = namespace_problem(host.user_network, host.program);
  if (found.is.empty()) return fine("a user can make a network of his own");
  return notice(std::move(found.is), std::move(found.advice), kNoNetwork);
}

Finding check_tun(const HostView& host) {
  UserNetworkProblem found = tun_problem(host.user_network);
  if (found.is.empty()) return fine("/dev/net/tun can be opened");
  return notice(std::move(found.is), std::move(found.advice), kNoNetwork);
}

struct HostCheck {
  const char* name;
  Finding (*look)(const HostView& host);
};
constexpr std::array kChecks = {
    HostCheck{"kernel", check_kernel},
    HostCheck{"clocksource", check_clocksource},
    HostCheck{"io_uring", check_io_uring},
    HostCheck{"pagemap_scan", check_pagemap_scan},
    HostCheck{"memfd_noexec", check_memfd_noexec},
    HostCheck{"shmem_huge_pages", check_shmem_huge_pages},
    HostCheck{"vm_creation", check_vm_creation},
    HostCheck{"nesting", check_nesting},
    HostCheck{"open_files", check_open_files},
    HostCheck{"processes", check_processes},
    HostCheck{"sizes", check_sizes},
    HostCheck{"locked_memory", check_locked_memory},
    HostCheck{"max_map_count", check_map_count},
    HostCheck{"overcommit", check_overcommit},
    HostCheck{"memory", check_memory},
    HostCheck{"file_system", check_file_system},
    HostCheck{"disk", check_disk},
    HostCheck{"user_namespaces", check_user_namespaces},
    HostCheck{"tun", check_tun},
};

}  // namespace

std::optional<std::string> HostView::read(const std::string& path) const {
  const auto bytes = sys::read_file(AT_FDCWD, root_ / path, kMaxFactBytes);
  if (!bytes) return std::nullopt;
  std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  const size_t end = text.find_last_not_of(" \n\t");
  text.resize(end == std::string::npos ? 0 : end + 1);
  return text;
}

std::optional<uint64_t> HostView::read_number(const std::string& path) const {
  const auto text = read(path);
  if (!text || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return std::nullopt;
  return std::strtoull(text->c_str(), nullptr, 10);
}

unsigned HostView::kernel_version() const {
  std::istringstream text(read("proc/sys/kernel/osrelease").value_or(""));
  unsigned major = 0;
  unsigned minor = 0;
  char dot = 0;
  if (!(text >> major >> dot >> minor) || dot != '.') return 0;
  return major * 100 + std::min(minor, 99u);
}

std::vector<std::string> HostView::list(const std::string& path) const {
  std::vector<std::string> names;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(root_ / path, ec)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string HostView::field(const std::string& path, const std::string& key) const {
  std::istringstream text(read(path).value_or(""));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t:", key.size());
    return begin == std::string::npos ? std::string() : line.substr(begin);
  }
  return {};
}

std::vector<Finding> check_host(const HostView& host) {
  std::vector<Finding> findings;
  for (const HostCheck& check : kChecks) {
    findings.push_back(check.look(host));
    findings.back().name = check.name;
  }
  return findings;
}

void describe_host(const HostView& host, DeepReport& report) {
  report.cpu_model = host.field("proc/cpuinfo", "model name");
  report.microcode = host.field("proc/cpuinfo", "microcode");
  report.kernel = host.read("proc/sys/kernel/osrelease").value_or("");
  report.memory_bytes = std::strtoull(host.field("proc/meminfo", "MemTotal:").c_str(), nullptr, 10)
                        << 10;
  std::istringstream cpuinfo(host.read("proc/cpuinfo").value_or(""));
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("processor")) ++report.cpus;
  }
  for (const char* module : {"kvm", "kvm_intel", "kvm_amd", "kvm_pvm"}) {
    const std::string dir = std::string("sys/module/") + module + "/parameters";
    for (const std::string& name : host.list(dir)) {
      if (const auto value = host.read(dir + "/" + name)) {
        report.kvm_parameters[std::string(module) + "." + name] = *value;
      }
    }
  }
}

}  // namespace microvm::host
