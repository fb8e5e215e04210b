// How long a capture stops a tiny guest, and how long a clone takes to start from it: at once, from
// the capture's form at rest (a resume), and each of a hundred (a fork). Not a test:
// it runs when it is asked for, by
//   kvm_tests --no-skip -tc='bench: capture*'
// and prints one line of JSON for each shape of the written pages. RUNS in the environment: how
// often (50).
#include <cstdlib>
#include <memory>
#include <thread>

#include "bench_series.hpp"
#include "captured.hpp"
#include "state/pages.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using Clock = std::chrono::steady_clock;

constexpr TinyShape kShape{.memory_bytes = 128 << 20};
constexpr int kForks = 100;

struct Restored {
  Series to_run, to_reply, to_byte;
};

void restore_once(const base::Fd& memory, const Captured& captured, Restored& out) {
  WorkerProcess clone;
  clone.shape(kShape);
  std::this_thread::sleep_for(milliseconds(5));  // pooled workers have been idle for a while
  const auto asked = Clock::now();
  REQUIRE(error_code(clone.restore(memory.get(), captured.state.get(), true, {},
                                   {captured.pages.get()})) == ErrorCode{});
  out.to_reply.add(microseconds(Clock::now() - asked));
  clone.kernel_log(1);
  out.to_byte.add(microseconds(Clock::now() - asked));
  const auto info = clone.owner().call_for<wire::InfoReply>(wire::InfoRequest{});
  out.to_run.add(static_cast<double>(info.start_to_run_ns) / 1000);
}

// From the packed pages, which are in memory, to the first byte that the guest puts out.
double resume_once(const base::Fd& memory, const Captured& captured, const base::Fd& packed) {
  WorkerProcess worker;
  worker.shape(kShape);
  std::this_thread::sleep_for(milliseconds(5));
  const auto asked = Clock::now();
  const auto overlay = zero_memory(kShape.memory_bytes);
  REQUIRE(state::unpack_pages(packed.get(), overlay.get(), kShape.memory_bytes));
  REQUIRE(error_code(worker.restore(memory.get(), captured.state.get(), true, {},
                                    {overlay.get()})) == ErrorCode{});
  worker.kernel_log(1);
  return microseconds(Clock::now() - asked);
}

// Into workers of a pool, until the last of them runs: forks of a guest that is idle by then, for a
// hundred that are not would measure each other.
double microseconds_per_fork(const base::Fd& memory, uint32_t pages, uint32_t stride) {
  WorkerProcess source;
  source.run(Code().touch_pages(kTouchedAddress, pages, stride).print("!").stop_forever(), kShape);
  source.kernel_log(1);
  const auto captured = capture(source.owner(), kAllPages);
  std::vector<std::unique_ptr<WorkerProcess>> pool;
  for (int i = 0; i < kForks; ++i) {
    pool.push_back(std::make_unique<WorkerProcess>());
    pool.back()->shape(kShape);
  }
  const auto asked = Clock::now();
  for (const auto& fork : pool) {
    REQUIRE(error_code(fork->restore(memory.get(), captured.state.get(), true, {},
                                     {captured.pages.get()})) == ErrorCode{});
  }
  return microseconds(Clock::now() - asked) / kForks;
}

void measure(const char* name, uint32_t pages, uint32_t stride, int runs) {
  WorkerProcess worker;
  worker.run(touching_guest(pages, stride), kShape);
  worker.kernel_log(100);
  Series pause;
  Captured captured;
  for (int run = 0; run < runs; ++run) {
    captured = capture(worker.owner());
    pause.add(static_cast<double>(captured.reply.pause_us));
    worker.kernel_log(worker.kernel_log().size() + 1);
  }
  const auto zeros = zero_memory(kShape.memory_bytes);
  Restored restored;
  for (int run = 0; run < runs; ++run) restore_once(zeros, captured, restored);
  const base::Fd packed = memory_file();
  const auto stored = state::pack_pages(captured.pages.get(), packed.get());
  REQUIRE(stored);
  Series resume;
  for (int run = 0; run < runs; ++run) resume.add(resume_once(zeros, captured, packed));
  const double per_fork = microseconds_per_fork(zeros, pages, stride);
  std::printf("{\"bench\":\"capture\",\"pages\":\"%s\",\"memory_mib\":128,\"runs\":%d", name, runs);
  std::printf(",\"page_bytes\":%llu", static_cast<unsigned long long>(captured.reply.page_bytes));
  std::printf(",\"stored_bytes\":%llu", static_cast<unsigned long long>(stored->stored_bytes));
  std::printf(",\"forks\":%d,\"fork_us_each\":%.0f", kForks, per_fork);
  pause.print("capture_pause_us");
  restored.to_run.print("request_to_kvm_run_us");
  restored.to_reply.print("request_to_reply_us");
  restored.to_byte.print("request_to_first_byte_read_us");
  resume.print("resume_to_first_byte_us");
  std::printf("}\n");
}

}  // namespace

TEST_CASE("bench: capture of a tiny guest and a clone from it" * doctest::skip()) {
  const char* text = std::getenv("RUNS");
  const int runs = text != nullptr ? std::atoi(text) : 50;
  measure("few", 1, kPage, runs);
  measure("4 MiB in one piece", 1024, kPage, runs);
  measure("4 MiB in 1024 pieces", 1024, 2 * kPage, runs);
}
