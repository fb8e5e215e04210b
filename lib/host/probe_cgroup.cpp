#include "host/probe_cgroup.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace microvm::host {
namespace {

namespace fs = std::filesystem;
using Status = ProbeItem::Status;

constexpr const char* kMount = "/sys/fs/cgroup";

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The line of the one hierarchy of version 2 is "0::/path".
fs::path own_cgroup() {
  const std::string line = first_line("/proc/self/cgroup");
  constexpr std::string_view kPrefix = "0::/";
  if (!line.starts_with(kPrefix)) return kMount;
  return fs::path(kMount) / line.substr(kPrefix.size());
}

bool has_word(std::string_view text, std::string_view word) {
  return (" " + std::string(text) + " ").find(" " + std::string(word) + " ") != std::string::npos;
}

}  // namespace

ProbeItem probe_cgroup() {
  struct statfs info{};
  if (::statfs(kMount, &info) != 0 || info.f_type != CGROUP2_SUPER_MAGIC) {
    return {"cgroup", Status::degraded, "no cgroup v2 at /sys/fs/cgroup: no limits per microvm",
            "boot with systemd.unified_cgroup_hierarchy=1"};
  }
  const fs::path own = own_cgroup();
  if (::access(own.c_str(), W_OK) != 0) {
    return {"cgroup", Status::degraded, "cgroup v2, not delegated: no limits per microvm",
            "start the program with systemd-run --user --scope -p Delegate=yes"};
  }
  const std::string controllers = first_line(own / "cgroup.controllers");
  if (!has_word(controllers, "memory") || !has_word(controllers, "cpu")) {
    return {"cgroup", Status::degraded, "cgroup v2, delegated without memory and cpu",
            "delegate these controllers (systemd: Delegate=cpu memory)"};
  }
  return {"cgroup", Status::ok, "v2, delegated, with cpu and memory", ""};
}

}  // namespace microvm::host
