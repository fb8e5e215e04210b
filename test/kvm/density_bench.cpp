// Many idle clones of one image of a tiny guest: what each takes, and what its start costs. Not a
// test: it runs when it is asked for, by
//   kvm_tests --no-skip -tc='bench: density*'
// and prints a line of JSON for each number of clones. CLONES in the environment: "500 2000"; a
// number for which the memory does not suffice is left out.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include "bench_series.hpp"
#include "worker_client.hpp"
#include "worker_memory.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using Clock = std::chrono::steady_clock;

constexpr TinyShape kShape{.memory_bytes = 128 << 20};
constexpr std::string_view kGuestFile = "/memfd:file (deleted)";
constexpr double kReserveKib = 4 << 20;  // others use this machine, too
constexpr std::chrono::seconds kSettleTime{2};

double available_kib() {
  std::ifstream lines("/proc/meminfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("MemAvailable:")) return std::strtod(line.c_str() + 13, nullptr);
  }
  return 0;
}

// A clone has five files here.
void raise_fd_limit() {
  rlimit fds{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &fds) == 0);
  fds.rlim_cur = fds.rlim_max;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &fds) == 0);
}

struct Image {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();

  Image() {
    WorkerProcess worker;
    worker.run(Code().print("idle").stop_forever(), kShape);
    worker.kernel_log(4);
    worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                                 {memory.get(), state.get()});
  }
};

struct Clones {
  std::vector<std::unique_ptr<WorkerProcess>> workers;
  std::vector<double> start_us;
  std::vector<double> cpu_us;  // of the worker alone
};

void start_one(const Image& image, Clones& clones) {
  const auto begin = Clock::now();
  auto worker = std::make_unique<WorkerProcess>();
  worker->shape(kShape);
  REQUIRE(error_code(worker->restore(image.memory.get(), image.state.get())) == ErrorCode{});
  clones.start_us.push_back(microseconds(Clock::now() - begin));
  clones.cpu_us.push_back(microseconds(cpu_time_of(worker->pid())));
  clones.workers.push_back(std::move(worker));
}

// On as many threads as there are processors. False: the memory does not suffice.
bool start_until(const Image& image, size_t count, std::vector<Clones>& parts) {
  std::vector<std::jthread> starters;
  for (size_t part = 0; part < parts.size(); ++part) {
    starters.emplace_back([&, part] {
      const size_t wanted = (count + part) / parts.size();
      while (parts[part].workers.size() < wanted && available_kib() > kReserveKib)
        start_one(image, parts[part]);
    });
  }
  starters.clear();
  size_t there = 0;
  for (const Clones& part : parts) there += part.workers.size();
  return there == count;
}

void print_memory(const std::vector<Clones>& parts) {
  Series rss, pss, beyond, own, tables, threads, of_kernel, files;
  for (const Clones& part : parts) {
    for (const auto& worker : part.workers) {
      const WorkerMemory memory = worker_memory(worker->pid(), kGuestFile);
      rss.add(static_cast<double>(memory.rss_kib));
      pss.add(static_cast<double>(memory.pss_kib));
      beyond.add(static_cast<double>(memory.rss_beyond_guest_kib));
      own.add(static_cast<double>(memory.private_beyond_guest_kib));
      tables.add(static_cast<double>(page_tables_kib(worker->pid())));
      const ThreadCounts counts = threads_of(worker->pid());
      threads.add(static_cast<double>(counts.own));
      of_kernel.add(static_cast<double>(counts.of_kernel));
      files.add(static_cast<double>(files_of(worker->pid())));
    }
  }
  rss.print("rss_kib");
  pss.print("pss_kib");
  beyond.print("rss_beyond_guest_memory_kib");
  own.print("private_beyond_guest_memory_kib");
  tables.print("page_tables_kib");
  threads.print("threads");
  of_kernel.print("kernel_threads");
  files.print("files");
}

void measure(const Image& image, size_t count) {
  const double available_before = available_kib();
  const auto cpu_before = cpu_time_of(::getpid());
  const auto begin = Clock::now();
  std::vector<Clones> parts(std::max(1u, std::thread::hardware_concurrency()));
  if (!start_until(image, count, parts)) return;
  const double seconds = microseconds(Clock::now() - begin) / 1e6;
  double cpu_us = microseconds(cpu_time_of(::getpid()) - cpu_before);
  Series starts, cpu;
  for (const Clones& part : parts) {
    for (const double value : part.start_us) starts.add(value);
    for (const double value : part.cpu_us) cpu.add(value), cpu_us += value;
  }
  std::this_thread::sleep_for(kSettleTime);
  const auto clones = static_cast<double>(count);
  std::printf("{\"bench\":\"worker_density\",\"memory_mib\":%llu,\"clones\":%zu",
              static_cast<unsigned long long>(kShape.memory_bytes >> 20), count);
  std::printf(",\"cores\":%zu,\"starts_per_second\":%.0f", parts.size(), clones / seconds);
  std::printf(",\"starts_per_second_of_one_core\":%.0f", clones / (cpu_us / 1e6));
  std::printf(",\"machine_memory_per_clone_kib\":%.0f",
              (available_before - available_kib()) / clones);
  starts.print("start_us");
  cpu.print("worker_cpu_us");
  print_memory(parts);
  std::printf("}\n");
}

}  // namespace

TEST_CASE("bench: density of tiny guests" * doctest::skip() * doctest::timeout(3600)) {
  raise_fd_limit();
  const Image image;
  const char* wanted = std::getenv("CLONES");
  std::istringstream counts(wanted != nullptr ? wanted : "100 500 2000");
  for (size_t count = 0; counts >> count;) measure(image, count);
}
