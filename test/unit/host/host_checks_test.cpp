// The checks of a host against hosts that are folders of text files.
#include "host/host_checks.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using State = Finding::State;

namespace {

constexpr const char* kLimits =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max file size             unlimited            unlimited            bytes     \n"
    "Max processes             96000                96000                processes \n"
    "Max open files            65536                1048576              files     \n"
    "Max locked memory         8388608              8388608              bytes     \n"
    "Max address space         unlimited            unlimited            bytes     \n";

// A host on which nothing is to be said.
class FakeHost {
 public:
  FakeHost() : view(dir_.path()) {
    write("proc/sys/kernel/osrelease", "6.12.10-amd64\n");
    write("proc/sys/kernel/io_uring_disabled", "0\n");
    write("proc/sys/vm/memfd_noexec", "0\n");
    write("proc/sys/vm/overcommit_memory", "0\n");
    write("proc/sys/vm/max_map_count", "65530\n");
    write("proc/self/limits", kLimits);
    write("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,favordynmods 0 0\n");
    write("proc/meminfo", "MemTotal:       16303452 kB\nMemFree:         1000 kB\n");
    write("proc/cpuinfo",
          "processor\t: 0\nmodel name\t: Fast 9000\nmicrocode\t: 0xa1\nflags\t\t: fpu vme\n\n"
          "processor\t: 1\nmodel name\t: Fast 9000\nmicrocode\t: 0xa1\nflags\t\t: fpu vme\n");
    write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    write("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet\n");
    write("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always advise [never] deny\n");
    write("sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled",
          "always inherit within_size advise [never]\n");
    write("sys/module/kvm/parameters/nx_huge_pages", "Y\n");
    write("sys/module/kvm_intel/parameters/nested", "Y\n");
    view.data_free_bytes = 100ull << 30;
    view.data_file_system = "ext4";
    view.vm_creation_ms = 0.4;
  }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((dir_ / path).parent_path());
    std::ofstream(dir_ / path) << text;
  }
  void remove(const std::string& path) { std::filesystem::remove_all(dir_ / path); }

  [[nodiscard]] Finding finding(const std::string& name) const {
    const auto all = check_host(view);
    const auto found = std::ranges::find(all, name, &Finding::name);
    REQUIRE(found != all.end());
    // Whatever is wrong says what to do and what it costs, and what is right says neither.
    CHECK((found->state == State::ok) == found->advice.empty());
    if (found->state == State::notice) CHECK_FALSE(found->cost.empty());
    return *found;
  }
  [[nodiscard]] State state(const std::string& name) const { return finding(name).state; }

 private:
  test::TempDir dir_;

 public:
  HostView view;
};

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("host checks: of a good host there is nothing to say") {
  const FakeHost host;
  const auto all = check_host(host.view);
  CHECK(all.size() == 19);
  for (const Finding& each : all) {
    INFO(each.name, ": ", each.is);
    CHECK(each.state == State::ok);
    CHECK_FALSE(each.is.empty());
    CHECK(each.advice.empty());
    CHECK(each.cost.empty());
  }
}

TEST_CASE(
    "host checks: a host that tells nothing at all has no crash and no false alarm of limits") {
  const test::TempDir empty;
  HostView view(empty.path());
  for (const Finding& each : check_host(view)) {
    INFO(each.name);
    const bool must_be_told = each.name == "kernel" || each.name == "memory" || each.name == "disk";
    CHECK((each.state == State::ok) == !must_be_told);
  }
}

TEST_CASE("host checks: of an older kernel it is said what is lost") {
  FakeHost host;
  const auto cost_on = [&](const std::string& release) {
    host.write("proc/sys/kernel/osrelease", release + "\n");
    return host.finding("kernel").cost;
  };
  CHECK(cost_on("6.7.0").empty());
  CHECK(cost_on("6.18.44-fc").empty());
  CHECK(mentions(cost_on("6.1.0-28-amd64"), "before 6.7"));
  CHECK_FALSE(mentions(cost_on("6.1.0-28-amd64"), "before 6.1 "));
  for (const char* level : {"5.11", "5.13", "5.14", "5.16", "6.1", "6.7"}) {
    CHECK(mentions(cost_on("5.10.0"), std::string("before ") + level + " "));
  }
  host.write("proc/sys/kernel/osrelease", "5.9.16\n");
  CHECK(host.state("kernel") == State::problem);
  host.write("proc/sys/kernel/osrelease", "6.12\n");
  host.view.machine = "aarch64";
  CHECK(host.state("kernel") == State::problem);
}

TEST_CASE("host checks: clocks, and what is forbidden") {
  FakeHost host;
  host.write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
  CHECK(mentions(host.finding("clocksource").is, "hpet"));
  CHECK(host.state("clocksource") == State::notice);
  CHECK(mentions(host.finding("clocksource").advice, "clocksource="));
  host.write("sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet\n");
  CHECK(mentions(host.finding("clocksource").advice, "unstable"));

  host.view.io_uring_error = EPERM;
  CHECK(mentions(host.finding("io_uring").advice, "seccomp"));
  host.write("proc/sys/kernel/io_uring_disabled", "2\n");
  CHECK(mentions(host.finding("io_uring").advice, "kernel.io_uring_disabled=0"));

  host.view.has_pagemap_scan = false;
  CHECK(host.state("pagemap_scan") == State::notice);

  host.write("proc/sys/vm/memfd_noexec", "1\n");
  CHECK(host.state("memfd_noexec") == State::ok);
  host.write("proc/sys/vm/memfd_noexec", "2\n");
  CHECK(host.state("memfd_noexec") == State::notice);
}

TEST_CASE("host checks: huge pages of memory files, of all sizes and of one") {
  const std::string dir = "sys/kernel/mm/transparent_hugepage/";
  FakeHost host;
  host.write(dir + "shmem_enabled", "[always] within_size advise never deny force\n");
  CHECK(mentions(host.finding("shmem_huge_pages").is, "2048 KiB"));
  host.write(dir + "shmem_enabled", "always within_size [advise] never deny force\n");
  CHECK(host.state("shmem_huge_pages") == State::ok);
  host.write(dir + "hugepages-64kB/shmem_enabled", "[always] inherit within_size advise never\n");
  CHECK(mentions(host.finding("shmem_huge_pages").is, "64 KiB"));
  host.write(dir + "hugepages-64kB/shmem_enabled", "always [inherit] within_size advise never\n");
  CHECK(host.state("shmem_huge_pages") == State::ok);
  host.write(dir + "shmem_enabled", "always [within_size] advise never deny force\n");
  CHECK(host.state("shmem_huge_pages") == State::notice);
}

TEST_CASE("host checks: machines are made slowly only when all of it comes together") {
  FakeHost host;
  host.view.vm_creation_ms = 23.4;
  host.write("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
  CHECK(host.state("vm_creation") == State::notice);
  CHECK(mentions(host.finding("vm_creation").is, "23.4 ms"));
  CHECK(mentions(host.finding("vm_creation").advice, "favordynmods"));
  host.view.vm_creation_ms = 0.3;  // whatever the settings say
  CHECK(host.state("vm_creation") == State::ok);
  host.view.vm_creation_ms.reset();
  CHECK(host.state("vm_creation") == State::notice);
  host.write("sys/module/kvm/parameters/nx_huge_pages", "N\n");
  CHECK(host.state("vm_creation") == State::ok);
  host.write("sys/module/kvm/parameters/nx_huge_pages", "Y\n");
  host.write("proc/sys/kernel/osrelease", "5.15.0\n");
  CHECK(host.state("vm_creation") == State::ok);
}

TEST_CASE("host checks: a host that is a guest") {
  FakeHost host;
  host.write("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor lahf_lm\n");
  CHECK(host.state("nesting") == State::notice);
}

TEST_CASE("host checks: limits of the user and of memory") {
  FakeHost host;
  const auto with_limit = [&](const std::string& line) {
    host.write("proc/self/limits", line + "\n");
  };
  with_limit("Max open files            1024                 524288               files");
  CHECK(mentions(host.finding("open_files").cost, "128 microVMs"));
  with_limit("Max open files            1024                 1024                 files");
  CHECK(mentions(host.finding("open_files").advice, "hard"));
  with_limit("Max processes             400                  400                  processes");
  CHECK(mentions(host.finding("processes").cost, "100 microVMs"));
  with_limit("Max address space         4294967296           unlimited            bytes");
  CHECK(host.state("sizes") == State::notice);
  with_limit("Max locked memory         65536                65536                bytes");
  CHECK(host.state("locked_memory") == State::ok);
  host.write("proc/sys/kernel/osrelease", "5.10.0\n");
  CHECK(host.state("locked_memory") == State::notice);

  host.write("proc/sys/vm/overcommit_memory", "2\n");
  CHECK(host.state("overcommit") == State::notice);
  host.write("proc/sys/vm/max_map_count", "1000\n");
  CHECK(host.state("max_map_count") == State::notice);
  host.write("proc/meminfo", "MemTotal:       524288 kB\n");
  CHECK(mentions(host.finding("memory").is, "0.5 GiB"));
}

TEST_CASE("host checks: the data directory") {
  FakeHost host;
  host.view.data_free_bytes = 1ull << 30;
  CHECK(mentions(host.finding("disk").is, "1.0 GiB"));
  CHECK(host.state("disk") == State::notice);
  host.view.data_free_bytes.reset();
  CHECK(host.state("disk") == State::problem);
  host.view.data_file_system = "tmpfs";
  CHECK(host.state("file_system") == State::notice);
  host.view.data_file_system = "nfs";
  CHECK(host.state("file_system") == State::notice);
  host.view.data_file_system = "zfs";
  CHECK(host.state("file_system") == State::ok);
}

TEST_CASE("host checks: what a report says of the machine") {
  const FakeHost host;
  DeepReport report;
  describe_host(host.view, report);
  CHECK(report.cpu_model == "Fast 9000");
  CHECK(report.microcode == "0xa1");
  CHECK(report.cpus == 2);
  CHECK(report.kernel == "6.12.10-amd64");
  CHECK(report.memory_bytes == 16303452ull << 10);
  CHECK(report.kvm_parameters ==
        std::map<std::string, std::string>{{"kvm.nx_huge_pages", "Y"}, {"kvm_intel.nested", "Y"}});
}

TEST_CASE("host checks: namespaces of a user, their capabilities, and tun") {
  const struct {
    UserNetworkTrial trial;
    const char* name;
    const char* advice;
  } rows[] = {
      {{.namespaces = EPERM}, "user_namespaces", "kernel.unprivileged_userns_clone=1"},
      {{.namespaces = ENOSPC}, "user_namespaces", "user.max_user_namespaces"},
      {{.capabilities = EPERM}, "user_namespaces", "apparmor_restrict_unprivileged_userns=0"},
      {{.capabilities = EPERM}, "user_namespaces", "profile microvm /opt/app flags=(unconfined)"},
      {{.tun = ENOENT}, "tun", "modprobe tun"},
      {{.tun = EACCES}, "tun", "chmod 666"},
  };
  for (const auto& row : rows) {
    FakeHost host;
    host.view.user_network = row.trial;
    host.view.program = "/opt/app";
    CAPTURE(row.advice);
    CHECK(host.state(row.name) == State::notice);
    CHECK(mentions(host.finding(row.name).advice, row.advice));
    const auto refused = check_user_network(row.trial);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
    CHECK(refused.error().message.starts_with("network user: "));
  }
  FakeHost host;
  CHECK(host.state("user_namespaces") == State::ok);
  CHECK(host.state("tun") == State::ok);
  CHECK(check_user_network({}));
}
