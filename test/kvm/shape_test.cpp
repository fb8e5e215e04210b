// Machines of every shape, and snapshots that meet machines of another.
#include <doctest/doctest.h>
#include <linux/kvm.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "captured.hpp"
#include "state/sections.hpp"
#include "vmm/snapshot/machine_state.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using state::SectionId;

struct Saved {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();
};

Saved saved_guest(const TinyShape& shape) {
  Saved saved;
  WorkerProcess worker;
  worker.run(counting_guest(), shape);
  worker.kernel_log(10);
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {saved.memory.get(), saved.state.get()});
  return saved;
}

ErrorCode restore(WorkerProcess& worker, const Saved& saved, const TinyShape& shape) {
  worker.shape(shape);
  return error_code(worker.restore(saved.memory.get(), saved.state.get()));
}

// The state file with another machine section.
base::Fd with_machine(int state_fd, uint16_t version, wire::Bytes body) {
  const std::string text = read_file(state_fd);
  const auto in = state::Reader::parse(wire::as_bytes(text));
  REQUIRE(in);
  state::Writer out;
  out.add(SectionId::machine, 0, version, std::move(body));
  constexpr uint32_t kMostInstances = 8;
  for (uint32_t id = 2; id < 64; ++id) {
    for (uint32_t instance = 0; instance < kMostInstances; ++instance) {
      const auto section = in->find(static_cast<SectionId>(id), instance, UINT16_MAX);
      if (!section) continue;
      out.add(section->id, instance, section->version,
              wire::Bytes(section->body.begin(), section->body.end()));
    }
  }
  const auto bytes = out.finish();
  return memory_file(wire::as_text(bytes));
}

// As a library wrote it that knew no peaks.
base::Fd with_version_1(int state_fd, const TinyShape& shape) {
  wire::ByteWriter machine;
  machine.put(shape.memory_bytes);
  machine.put(shape.vcpus);
  machine.put(shape.disks);
  return with_machine(state_fd, 1, machine.take());
}

std::string line_of(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return {};
}

// How often each vCPU thread of the worker that waits went to sleep by itself, by its name.
std::map<std::string, unsigned> waiting_vcpu_threads(const WorkerProcess& worker) {
  std::map<std::string, unsigned> threads;
  const auto tasks = "/proc/" + std::to_string(worker.pid()) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    const std::string status = task.path() / "status";
    const std::string name = line_of(status, "Name:\t");
    if (!name.starts_with("vcpu") || !line_of(status, "State:\t").starts_with("S")) continue;
    threads[name] =
        static_cast<unsigned>(std::stoul(line_of(status, "voluntary_ctxt_switches:\t")));
  }
  return threads;
}

// A thread may have been made and not have come to run yet.
std::map<std::string, unsigned> wait_for_threads(const WorkerProcess& worker, size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  auto threads = waiting_vcpu_threads(worker);
  while (threads.size() < count && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(2));
    threads = waiting_vcpu_threads(worker);
  }
  return threads;
}

struct Cost {
  unsigned long memory_kib = 0;
  size_t fds = 0;
};

Cost cost_of(const TinyShape& shape) {
  WorkerProcess worker;
  worker.shape(shape);
  wait_for_threads(worker, std::max(shape.vcpus, shape.peak_vcpus));
  const std::string process = "/proc/" + std::to_string(worker.pid());
  std::istringstream anonymous(line_of(process + "/status", "RssAnon:"));
  Cost cost;
  anonymous >> cost.memory_kib;
  const std::filesystem::directory_iterator fds(process + "/fd");
  cost.fds = static_cast<size_t>(std::distance(begin(fds), end(fds)));
  return cost;
}

}  // namespace

TEST_CASE("shape: a guest that was booted has 8259s that report nothing") {
  const auto saved = saved_guest({});
  const std::string text = read_file(saved.state.get());
  const auto in = state::Reader::parse(wire::as_bytes(text));
  REQUIRE(in);
  const auto chips = in->find(SectionId::interrupt_chips, 0, UINT16_MAX);
  REQUIRE(chips);
  for (size_t number = 0; number < 2; ++number) {
    kvm_irqchip chip{};
    REQUIRE(chips->body.size() >= (number + 1) * sizeof chip);
    std::memcpy(&chip, chips->body.data() + number * sizeof chip, sizeof chip);
    CHECK(chip.chip_id == number);
    CHECK(chip.chip.pic.imr == 0xff);
  }
}

TEST_CASE("shape: a state file from before the peaks is restored into a machine without them") {
  const TinyShape shape{.vcpus = 2};
  auto saved = saved_guest(shape);
  saved.state = with_version_1(saved.state.get(), shape);
  WorkerProcess clone;
  CHECK(restore(clone, saved, shape) == ErrorCode{});
  clone.kernel_log(10);
  WorkerProcess growing;
  CHECK(restore(growing, saved, {.vcpus = 2, .peak_vcpus = 4}) == ErrorCode::invalid_argument);
}

TEST_CASE("shape: a guest goes on only where it can grow as far as it was told") {
  const TinyShape shape{.peak_memory_bytes = 64 << 20, .peak_vcpus = 4};
  const auto saved = saved_guest(shape);
  WorkerProcess clone;
  CHECK(restore(clone, saved, shape) == ErrorCode{});
  clone.kernel_log(10);
  for (const TinyShape& other : {TinyShape{}, TinyShape{.peak_memory_bytes = 64 << 20},
                                 TinyShape{.peak_memory_bytes = 32 << 20, .peak_vcpus = 4},
                                 TinyShape{.peak_memory_bytes = 64 << 20, .peak_vcpus = 8}}) {
    WorkerProcess worker;
    CHECK(restore(worker, saved, other) == ErrorCode::invalid_argument);
  }
}

TEST_CASE("shape: a device that the guest was not told of is left alone, one we lack is refused") {
  constexpr uint32_t kVsock = 1u << 4, kRng = 1u << 5, kNobodys = 1u << 11;
  const TinyShape shape;
  const auto saved = saved_guest(shape);
  const auto restore_with = [&](uint32_t slots) {
    const auto state = with_machine(saved.state.get(), vmm::snapshot::kMachineVersion,
                                    vmm::snapshot::encode_machine({shape.full(), slots}));
    WorkerProcess worker;
    worker.shape(shape);
    const auto code = error_code(worker.restore(saved.memory.get(), state.get()));
    if (code == ErrorCode{}) worker.kernel_log(10);
    return code;
  };
  CHECK(restore_with(kVsock | kRng) == ErrorCode{});
  CHECK(restore_with(kVsock) == ErrorCode{});
  CHECK(restore_with(kVsock | kRng | kNobodys) == ErrorCode::unsupported);
}

TEST_CASE("shape: the threads up to the peak are there before the jail, and stay where they are") {
  const TinyShape shape{.vcpus = 1, .peak_vcpus = 4};
  WorkerProcess worker;
  worker.shape(shape);
  const auto shaped = wait_for_threads(worker, 4);
  REQUIRE(shaped.size() == 4);
  REQUIRE(error_code(worker.boot(counting_guest())) == ErrorCode{});
  worker.kernel_log(100);
  worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  worker.kernel_log(200);
  const auto later = waiting_vcpu_threads(worker);
  for (const char* spare : {"vcpu1", "vcpu2", "vcpu3"}) {
    CHECK(later.at(spare) == shaped.at(spare));
  }
  CHECK(worker.owner().call_for<wire::InfoReply>(wire::InfoRequest{}).vcpus == 1);
  worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(worker.wait_exit() == 0);
}

TEST_CASE("shape: room to grow costs a page a thread, and no fd") {
  constexpr uint16_t kPeakVcpus = 32;
  const Cost plain = cost_of({});
  const Cost growing = cost_of({.peak_memory_bytes = uint64_t{1} << 40, .peak_vcpus = kPeakVcpus});
  MESSAGE("memory of its own: " << plain.memory_kib << " KiB, with room for 1 TiB and "
                                << kPeakVcpus << " vcpus " << growing.memory_kib << " KiB");
  CHECK(growing.fds == plain.fds);
  // A page of each stack, and what the heap has of each.
  constexpr unsigned long kHeapKib = 32;
  CHECK(growing.memory_kib <= plain.memory_kib + (kPeakVcpus - 1) * 4 + kHeapKib);
}
