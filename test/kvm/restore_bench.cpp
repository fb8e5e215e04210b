// The worker's own restore path, with a tiny guest. Not a test: it runs when it is asked for, by
//   kvm_tests --no-skip -tc='bench: restore*'
// and prints one line of JSON for each transport and memory size. RUNS in the environment: how
// often (50).
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "bench_series.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using Clock = std::chrono::steady_clock;

// Of the whole process, as /proc/PID/stat counts them.
double minor_faults(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string field;
  for (int i = 0; i < 10; ++i) stat >> field;
  return std::strtod(field.c_str(), nullptr);
}

double resident_kib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return 0;
}

void measure(const TinyShape& shape, int runs) {
  const bool on_pci = shape.transport == wire::TransportKind::pci;
  const auto memory = memory_file();
  const auto state = memory_file();
  Series pause, spawn, shaped, to_run, to_reply, to_byte, faults, idle, running;
  {
    WorkerProcess worker;
    worker.run(on_pci ? counting_guest_on_pci() : counting_guest(), shape);
    worker.kernel_log(100);
    const auto saved = worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                                                    {memory.get(), state.get()});
    pause.add(static_cast<double>(saved.pause_us));
  }
  for (int run = 0; run < runs; ++run) {
    const auto begin = Clock::now();
    WorkerProcess worker;
    const auto spawned = Clock::now();
    worker.shape(shape);
    spawn.add(microseconds(spawned - begin));
    shaped.add(microseconds(Clock::now() - spawned));
    // Pooled workers have been idle for a while.
    std::this_thread::sleep_for(milliseconds(5));
    const double faults_before = minor_faults(worker.pid());
    idle.add(resident_kib(worker.pid()));
    const base::Fd printed = worker.follow_kernel_log();
    const auto asked = Clock::now();
    REQUIRE(error_code(worker.restore(memory.get(), state.get())) == ErrorCode{});
    to_reply.add(microseconds(Clock::now() - asked));
    char byte = 0;
    REQUIRE(::read(printed.get(), &byte, 1) == 1);
    to_byte.add(microseconds(Clock::now() - asked));
    faults.add(minor_faults(worker.pid()) - faults_before);
    running.add(resident_kib(worker.pid()));
    const auto info = worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{});
    to_run.add(static_cast<double>(info.start_to_run_ns) / 1000);
  }
  std::printf("{\"bench\":\"worker_restore\",\"devices\":\"%s\",\"memory_mib\":%llu,\"runs\":%d",
              on_pci ? "pci" : "mmio", static_cast<unsigned long long>(shape.memory_bytes >> 20),
              runs);
  pause.print("snapshot_pause_us");
  spawn.print("spawn_us");
  shaped.print("shape_us");
  to_run.print("request_to_kvm_run_us");
  to_reply.print("request_to_reply_us");
  to_byte.print("request_to_first_byte_read_us");
  faults.print("minor_faults");
  idle.print("idle_rss_kib");
  running.print("running_rss_kib");
  std::printf("}\n");
}

}  // namespace

TEST_CASE("bench: restore of a tiny guest" * doctest::skip()) {
  const char* runs = std::getenv("RUNS");
  for (const auto transport : {wire::TransportKind::mmio, wire::TransportKind::pci}) {
    for (const uint64_t mib : {128u, 1024u}) {
      measure({.memory_bytes = mib << 20, .transport = transport},
              runs != nullptr ? std::atoi(runs) : 50);
    }
  }
}
