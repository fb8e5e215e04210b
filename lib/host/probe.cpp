// What this host can do: the facts behind `microvm doctor`.
#include "microvm/probe.hpp"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/fd.hpp"
#include "host/base/stopwatch.hpp"
#include "host/live_host.hpp"
#include "host/vm/core.hpp"
#include "sys/page_map_scan.hpp"

namespace microvm {
namespace {

namespace fs = std::filesystem;
using FindingState = Finding::State;

int io_uring_error() {
  io_uring_params params{};
  const base::Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &params)));
  return ring ? 0 : errno;
}

bool has_pagemap_scan() {
  const base::Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  sys::PageMapScan scan{};
  scan.size = sizeof scan;
  return pagemap && ::ioctl(pagemap.get(), sys::kPageMapScan, &scan) >= 0;
}

// The median: a pause of the host's is not KVM's.
std::optional<double> time_vm_creation() {
  constexpr size_t kRuns = 7;
  const base::Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return std::nullopt;
  std::vector<double> times;
  for (size_t run = 0; run < kRuns; ++run) {
    const host::Stopwatch clock;
    const base::Fd vm(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
    if (!vm) return std::nullopt;
    times.push_back(static_cast<double>(clock.us()) / 1000);
  }
  std::ranges::sort(times);
  return times[kRuns / 2];
}

// linux/magic.h has most of them.
std::string file_system_name(uint64_t magic) {
  struct Known {
    uint64_t magic;
    const char* name;
  };
  constexpr Known kKnown[] = {
      {0xEF53, "ext4"},         {0x58465342, "xfs"},       {0x9123683E, "btrfs"},
      {0x2FC12FC1, "zfs"},      {0x01021994, "tmpfs"},     {0x6969, "nfs"},
      {0xFF534D42, "cifs"},     {0xFE534D42, "cifs"},      {0x65735546, "fuse"},
      {0x01021997, "9p"},       {0x794c7630, "overlayfs"}, {0xF2F52010, "f2fs"},
      {0xCA451A4E, "bcachefs"},
  };
  for (const Known& known : kKnown) {
    if (known.magic == magic) return known.name;
  }
  return "a file system of another kind";
}

// The nearest directory above that exists: the data directory may not be there yet.
fs::path existing_parent(fs::path path) {
  std::error_code ec;
  path = fs::absolute(path, ec);
  while (!fs::exists(path, ec) && path.has_relative_path()) path = path.parent_path();
  return path;
}

void look_at_data_dir(const fs::path& data_dir, host::HostView& host) {
  const auto dir = data_dir.empty() ? host::default_data_dir() : data_dir;
  if (!dir) return;
  struct statfs info{};
  if (::statfs(existing_parent(*dir).c_str(), &info) != 0) return;
  host.data_file_system = file_system_name(static_cast<uint64_t>(info.f_type));
  host.data_free_bytes = info.f_bavail * static_cast<uint64_t>(info.f_bsize);
}

Result<Finding> kvm_finding(const fs::path& data_dir, const host::Limits& limits) {
  host::WorkerSpawner spawner(host::place_for_programs(data_dir));
  const auto usable = spawner.probe(limits);
  if (auto ok = limits.check("look at the host"); !ok) return base::fail(ok.error());
  if (usable) return Finding{"kvm", FindingState::ok, "/dev/kvm runs stock kernels", "", ""};
  // Which says what to do.
  return Finding{"kvm", FindingState::problem, usable.error().message, "", "no microVM runs here"};
}

}  // namespace

namespace host {

HostView look_at_host(const fs::path& data_dir) {
  HostView host;
  utsname names{};
  ::uname(&names);
  host.machine = names.machine;
  host.io_uring_error = io_uring_error();
  host.has_pagemap_scan = has_pagemap_scan();
  host.vm_creation_ms = time_vm_creation();
  host.user_network = try_user_network();
  std::error_code ec;
  if (auto program = fs::read_symlink("/proc/self/exe", ec); !ec) host.program = program.string();
  look_at_data_dir(data_dir, host);
  return host;
}

std::string place_for_programs(const fs::path& data_dir) {
  const auto dir = data_dir.empty() ? default_data_dir() : data_dir;
  return dir ? existing_parent(*dir).string() : std::string();
}

}  // namespace host

const char* finding_state_name(FindingState state) noexcept {
  switch (state) {
    case FindingState::ok:
      return "ok";
    case FindingState::notice:
      return "notice";
    case FindingState::problem:
      return "problem";
  }
  return "unknown";
}

Result<void> probe_kvm(const CallLimits& limits) {
  host::WorkerSpawner spawner(host::place_for_programs({}));
  return spawner.probe(host::Limits(limits));
}

Result<std::vector<Finding>> probe_host(const ProbeOptions& options,
                                        const CallLimits& call_limits) {
  const host::Limits limits(call_limits);
  auto kvm = kvm_finding(options.data_dir, limits);
  if (!kvm) return base::fail(kvm.error());
  std::vector<Finding> findings = host::check_host(host::look_at_host(options.data_dir));
  findings.insert(findings.begin(), std::move(*kvm));
  return findings;
}

}  // namespace microvm
