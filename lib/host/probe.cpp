// What this host can do: the facts behind `microvm doctor`.
#include "microvm/probe.hpp"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/fd.hpp"
#include "host/vm/core.hpp"
#include "sys/page_map_scan.hpp"

namespace microvm {
namespace {

using Status = ProbeItem::Status;

constexpr uint64_t kGib = 1ull << 30;
constexpr uint64_t kLittleDisk = 4 * kGib;  // a base image, an image and some Vms
constexpr uint64_t kLittleMemory = 1 * kGib;

std::string in_gib(uint64_t bytes) {
  const uint64_t tenths = bytes / (kGib / 10);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

ProbeItem probe_kvm_item() {
  const auto usable = probe_kvm();
  if (usable) return {"kvm", Status::ok, "/dev/kvm runs stock kernels", ""};
  return {"kvm", Status::missing, usable.error().message, ""};  // which says what to do
}

ProbeItem probe_kernel() {
  utsname names{};
  ::uname(&names);
  const std::string detail = std::string(names.sysname) + " " + names.release + " " + names.machine;
  if (std::string_view(names.machine) != "x86_64") {
    return {"kernel", Status::missing, detail, "run on an x86-64 host"};
  }
  return {"kernel", Status::ok, detail, ""};
}

ProbeItem probe_io_uring() {
  io_uring_params params{};
  const base::Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &params)));
  if (ring) return {"io_uring", Status::ok, "available", ""};
  const std::string why = base::fail_errno("io_uring_setup").value().message;
  return {
      "io_uring", Status::degraded, why + "; disks use pread and pwrite",
      "sysctl kernel.io_uring_disabled=0, and allow io_uring in the container's seccomp profile"};
}

ProbeItem probe_pagemap_scan() {
  const base::Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  sys::PageMapScan scan{};
  scan.size = sizeof scan;
  if (pagemap && ::ioctl(pagemap.get(), sys::kPageMapScan, &scan) >= 0) {
    return {"pagemap_scan", Status::ok, "available", ""};
  }
  return {"pagemap_scan", Status::degraded,
          base::fail_errno("PAGEMAP_SCAN").value().message +
              "; changed pages are found in the page map, which takes longer",
          "a kernel of 6.7 or newer"};
}

// The nearest directory above that exists: the data directory may not be there yet.
std::filesystem::path existing_parent(std::filesystem::path path) {
  std::error_code ec;
  while (!std::filesystem::exists(path, ec) && path.has_relative_path()) path = path.parent_path();
  return path;
}

ProbeItem probe_disk(const std::filesystem::path& data_dir) {
  const auto dir = data_dir.empty() ? host::default_data_dir() : data_dir;
  if (!dir) return {"disk", Status::missing, dir.error().message, ""};
  struct statvfs info{};
  const auto parent = existing_parent(*dir);
  if (::statvfs(parent.c_str(), &info) != 0) {
    return {"disk", Status::missing, base::fail_errno(parent.string()).value().message, ""};
  }
  const uint64_t free = info.f_bavail * info.f_frsize;
  const std::string detail = in_gib(free) + " free for " + dir->string();
  if (free >= kLittleDisk) return {"disk", Status::ok, detail, ""};
  return {"disk", Status::degraded, detail, "free some space, or set MICROVM_DATA_DIR"};
}

ProbeItem probe_memory() {
  struct sysinfo info{};
  ::sysinfo(&info);
  const uint64_t total = static_cast<uint64_t>(info.totalram) * info.mem_unit;
  const std::string detail = in_gib(total) + " in all";
  if (total >= kLittleMemory) return {"memory", Status::ok, detail, ""};
  return {"memory", Status::degraded, detail, "a machine with more memory"};
}

}  // namespace

Result<void> probe_kvm() {
  host::WorkerSpawner spawner;
  return spawner.probe(host::Limits({}));
}

std::vector<ProbeItem> probe_host(const std::filesystem::path& data_dir) {
  return {probe_kvm_item(),     probe_kernel(),       probe_io_uring(),
          probe_pagemap_scan(), probe_disk(data_dir), probe_memory()};
}

}  // namespace microvm
