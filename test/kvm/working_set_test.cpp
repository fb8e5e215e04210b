// What a clone touched, recorded by its worker and brought in by the next one's.
#include <doctest/doctest.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fstream>

#include "state/working_set.hpp"
#include "worker_client.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr int kCapPreFaultMemory = 236;  // of Linux 6.11 and later
constexpr uint64_t kMemory = TinyShape{}.memory_bytes;
constexpr uint32_t kCounterPage = kCounterAddress / state::kWorkingSetPage;

struct Snapshot {
  base::Fd memory = memory_file();
  base::Fd state = memory_file();

  Snapshot() {
    WorkerProcess worker;
    worker.run(counting_guest());
    worker.kernel_log(100);
    worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                                 {memory.get(), state.get()});
  }
};

ErrorCode restore(WorkerProcess& worker, const Snapshot& snapshot, int working_set) {
  worker.shape();
  return error_code(
      worker.restore_with_working_set(snapshot.memory.get(), snapshot.state.get(), working_set));
}

base::Fd file_of(const state::WorkingSet& set) {
  return memory_file(wire::as_text(state::encode_working_set(set)));
}

bool holds(const std::vector<state::PageSpan>& ranges, uint32_t page) {
  for (const auto& range : ranges) {
    if (page >= range.first && page - range.first < range.pages) return true;
  }
  return false;
}

// Of the memory file's mapping.
struct Resident {
  uint64_t private_kib = 0;
  uint64_t all_kib = 0;
};
Resident resident(pid_t pid) {
  std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps");
  Resident sum;
  bool guest = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find('-') < line.find(' ')) guest = line.find("memfd:") != std::string::npos;
    if (!guest) continue;
    const uint64_t kib = std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10);
    if (line.starts_with("Rss:")) sum.all_kib += kib;
    if (line.starts_with("Private_Dirty:")) sum.private_kib += kib;
  }
  return sum;
}

}  // namespace

TEST_CASE("working set: a clone's is recorded and the next clone runs with it") {
  const Snapshot snapshot;
  const auto file = memory_file();
  {
    WorkerProcess worker;
    worker.shape();
    REQUIRE(error_code(worker.restore(snapshot.memory.get(), snapshot.state.get())) == ErrorCode{});
    worker.kernel_log(100);
    worker.owner().call_for<wire::OkReply>(wire::WorkingSetRequest{}, {file.get()});
  }
  const std::string bytes = read_file(file.get());
  const auto set = state::parse_working_set(wire::as_bytes(bytes), kMemory);
  REQUIRE(set);
  CHECK(holds(set->written, kCounterPage));
  CHECK_FALSE(holds(set->read, kCounterPage));

  WorkerProcess next;
  REQUIRE(restore(next, snapshot, file.get()) == ErrorCode{});
  CHECK(next.kernel_log(50).size() >= 50);
}

TEST_CASE("working set: what the host maps beside a page is left out, where KVM tells") {
  constexpr uint32_t kFirstPages = 512;
  const Snapshot snapshot;
  // Where there was a hole there is something now, for the host to map beside what the guest reads.
  for (uint32_t page = 0; page < kFirstPages; ++page) {
    std::string bytes(state::kWorkingSetPage, '\0');
    const off_t at = static_cast<off_t>(page) * state::kWorkingSetPage;
    REQUIRE(::pread(snapshot.memory.get(), bytes.data(), bytes.size(), at) > 0);
    if (bytes.find_first_not_of('\0') != std::string::npos) continue;
    REQUIRE(::pwrite(snapshot.memory.get(), "x", 1, at) == 1);
  }
  WorkerProcess worker;
  worker.shape();
  REQUIRE(error_code(worker.restore(snapshot.memory.get(), snapshot.state.get())) == ErrorCode{});
  worker.kernel_log(100);
  const auto file = memory_file();
  worker.owner().call_for<wire::OkReply>(wire::WorkingSetRequest{}, {file.get()});
  const size_t printed = worker.kernel_log().size();
  CHECK(worker.kernel_log(printed + 50).size() >= printed + 50);  // it runs on
  const std::string bytes = read_file(file.get());
  const auto set = state::parse_working_set(wire::as_bytes(bytes), kMemory);
  REQUIRE(set);
  uint32_t read = 0;
  for (const auto& range : set->read) read += range.pages;
  const bool tells = ::ioctl(open_kvm().get(), KVM_CHECK_EXTENSION, kCapPreFaultMemory) > 0;
  const std::string others = tells ? "" : ", with what was mapped beside them";
  MESSAGE(read << " pages read" << others);
  CHECK(holds(set->written, kCounterPage));
  CHECK(read > 0);
  if (tells) CHECK(read < 16);
}

TEST_CASE("working set: a machine that stands is recorded as it stands") {
  const Snapshot snapshot;
  const auto file = memory_file();
  WorkerProcess worker;
  worker.shape();
  REQUIRE(error_code(worker.restore(snapshot.memory.get(), snapshot.state.get())) == ErrorCode{});
  worker.kernel_log(100);
  worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
  worker.owner().call_for<wire::OkReply>(wire::WorkingSetRequest{}, {file.get()});
  worker.check_stands_still();
}

TEST_CASE("working set: what it names is there before the guest needs it, and no more") {
  const Snapshot snapshot;
  const auto file = file_of({kMemory, {{2048, 100}}, {{3000, 40}}});
  const auto none = file_of({kMemory, {}, {}});
  WorkerProcess with, without;
  REQUIRE(restore(with, snapshot, file.get()) == ErrorCode{});
  REQUIRE(restore(without, snapshot, none.get()) == ErrorCode{});
  with.kernel_log(50);
  without.kernel_log(50);
  CHECK(resident(with.pid()).private_kib == resident(without.pid()).private_kib + 400);
  CHECK(resident(with.pid()).all_kib >= resident(without.pid()).all_kib + 560);
}

TEST_CASE("working set: one that is damaged or of another machine is refused") {
  const Snapshot snapshot;
  const std::string good(wire::as_text(state::encode_working_set({kMemory, {{5, 2}}, {{9, 1}}})));
  std::string flipped = good;
  flipped[good.size() / 2] ^= 1;
  for (const std::string& bad : {std::string(), good.substr(0, good.size() - 1), flipped,
                                 std::string(state::kMaxWorkingSetBytes + 1, 'x')}) {
    const auto file = memory_file(bad);
    WorkerProcess worker;
    CHECK(restore(worker, snapshot, file.get()) == ErrorCode::corrupt);
    worker.owner().send(wire::TerminateRequest{});
    CHECK(worker.wait_exit() == 0);
  }
  const auto other = file_of({kMemory * 2, {}, {}});
  WorkerProcess worker;
  CHECK(restore(worker, snapshot, other.get()) == ErrorCode::corrupt);
}

TEST_CASE("working set: it is written into an empty file of a machine that runs, or not at all") {
  const auto full = memory_file("something");
  const auto empty = memory_file();
  WorkerProcess worker;
  worker.shape();
  CHECK(error_code(worker.owner().call(wire::WorkingSetRequest{}, {empty.get()}).message) ==
        ErrorCode::busy);
  REQUIRE(error_code(worker.boot(counting_guest())) == ErrorCode{});
  CHECK(error_code(worker.owner().call(wire::WorkingSetRequest{}, {full.get()}).message) ==
        ErrorCode::invalid_argument);
  CHECK(error_code(worker.owner().call(wire::WorkingSetRequest{}, {}).message) ==
        ErrorCode::invalid_argument);
}
