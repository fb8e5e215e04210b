// What a worker takes beside its guest's memory: many idle ones are to fit on one host.
#include "worker_memory.hpp"

#include <doctest/doctest.h>

#include <string>

#include "captured.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr std::string_view kGuestFile = "/memfd:file (deleted)";
constexpr uint64_t kMostPrivateKib = 512;

void check_small(const WorkerProcess& worker, const std::string& when) {
  CAPTURE(when);
  const WorkerMemory memory = worker_memory(worker.pid(), kGuestFile);
  MESSAGE(when << ": " << memory.private_beyond_guest_kib << " KiB of its own beyond its guest's, "
               << memory.rss_beyond_guest_kib << " KiB resident, " << page_tables_kib(worker.pid())
               << " KiB of page tables");
  CHECK(memory.private_beyond_guest_kib > 0);
  CHECK(memory.private_beyond_guest_kib <= kMostPrivateKib);
  CHECK(threads_of(worker.pid()).own == 2);  // the loop, one vCPU
}

}  // namespace

TEST_CASE("memory: an idle worker has little beside its guest's, and a thread for each vCPU") {
  const base::Fd memory = memory_file();
  const base::Fd state = memory_file();
  {
    WorkerProcess source;
    source.run(Code().print("idle").stop_forever());
    source.kernel_log(4);
    source.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                                 {memory.get(), state.get()});
  }
  WorkerProcess other;  // so that the program's pages are not of one process alone
  other.shape();
  WorkerProcess worker;
  worker.keep_logs();
  worker.shape();
  check_small(worker, "waiting in the pool");
  REQUIRE(error_code(worker.restore(memory.get(), state.get())) == ErrorCode{});
  check_small(worker, "running");
}

TEST_CASE("memory: what a capture of scattered pages took is given back") {
  constexpr TinyShape kShape{.memory_bytes = 64 << 20};
  WorkerProcess source;
  source.run(touching_guest(6000, 2 * kPage), kShape);
  source.kernel_log(1);
  const Captured captured = capture(source.owner());
  const base::Fd zeros = zero_memory(kShape.memory_bytes);
  WorkerProcess clone;
  REQUIRE(start_clone(clone, zeros, {&captured}, kShape) == ErrorCode{});
  for (int i = 0; i < 3; ++i) static_cast<void>(capture(clone.owner(), kAllPages));
  clone.owner().call_for<wire::InfoReply>(
      wire::InfoRequest{});  // it is given back after the answer
  check_small(clone, "after captures");
}
