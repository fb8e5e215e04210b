// Each call by which a worker writes a capture fails once: the guest runs on, and the next capture
// is as good as if nothing had been. But when a disk could not be synced nobody knows what it has:
// it takes nothing more, and the guest is not captured again.
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>

#include "captured.hpp"
#include "tracer.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr uint32_t kPieces = 6;

bool writes(const Tracer::Call& call) {
  constexpr std::array kWriting = {SYS_pwrite64,  SYS_pwritev, SYS_pwritev2,  SYS_ftruncate,
                                   SYS_fallocate, SYS_fsync,   SYS_fdatasync, SYS_sync_file_range};
  return std::ranges::find(kWriting, static_cast<long>(call.number)) != kWriting.end();
}

bool syncs(const Tracer::Call& call) {
  return call.number == SYS_fsync || call.number == SYS_fdatasync;
}

struct Attempt {
  ErrorCode code{};
  bool reached = false;  // the call that was to fail
  bool sync = false;     // what it was
};

// The `number`th writing call fails.
Attempt capture_with_failure(WorkerProcess& worker, const base::Fd& layer, int number, int error) {
  const base::Fd pages = memory_file();
  const base::Fd state = memory_file();
  Attempt attempt;
  Tracer tracer(worker.pid());
  auto reply = std::async(std::launch::async, [&] {
    return worker.owner().call(kStayPaused, {pages.get(), state.get(), layer.get()});
  });
  int calls = 0;
  const auto fail_one = [&](const Tracer::Call& call) {
    if (!writes(call) || ++calls != number) return 0;
    attempt.reached = true;
    attempt.sync = syncs(call);
    return error;
  };
  REQUIRE(tracer.follow(
      fail_one, [&] { return reply.wait_for(milliseconds(0)) == std::future_status::ready; }));
  attempt.code = error_code(reply.get().message);
  return attempt;
}

// A guest that has written some pages far apart, and its disk.
struct Guest {
  Guest() {
    worker.shape(kShape);
    REQUIRE(error_code(worker.boot(touching_guest(kPieces, kStride), true,
                                   {{base.get(), layer.get()}})) == ErrorCode{});
    worker.kernel_log(10);
  }
  void check_runs_on() {
    worker.kernel_log(worker.kernel_log().size() + 20);
    CHECK_FALSE(is_paused(worker.owner()));
  }
  void check_captured_whole() {
    const base::Fd next = memory_file();
    const auto captured = capture(worker.owner(), {}, {next.get()});
    CHECK(captured_quad(captured, kTouchedAddress + (kPieces - 1) * kStride) == 1);
    const base::Fd sealed = read_only(layer.get());
    const base::Fd own = memory_file();
    WorkerProcess clone;
    clone.shape(kShape);
    REQUIRE(error_code(clone.restore(zero_memory(kShape.memory_bytes).get(), captured.state.get(),
                                     true, {{base.get(), sealed.get(), own.get()}},
                                     {captured.pages.get()})) == ErrorCode{});
    clone.kernel_log(10);
  }
  void check_captured_no_more() {
    const base::Fd next = memory_file();
    CHECK(capture_code(worker.owner(), {next.get()}) == ErrorCode::io);
  }

  static constexpr TinyShape kShape{.memory_bytes = 48 << 20, .disks = 1};
  static constexpr uint32_t kStride = 4 << 20;  // apart also where a host uses pages of 2 MiB
  const base::Fd base = read_only(memory_file(std::string(1 << 20, 'b')).get());
  const base::Fd layer = memory_file();
  WorkerProcess worker{true};
};

}  // namespace

TEST_CASE("capture: each write and sync of the worker fails once, and the guest runs on") {
  for (const int error : {ENOSPC, EIO}) {
    INFO("errno ", error);
    int failed = 0;
    int syncs = 0;
    for (int number = 1;; ++number) {
      INFO("call ", number);
      Guest guest;
      const base::Fd given_up = memory_file();
      const auto attempt = capture_with_failure(guest.worker, given_up, number, error);
      if (!attempt.reached) {
        CHECK(attempt.code == ErrorCode{});
        break;
      }
      ++failed;
      if (attempt.sync) ++syncs;
      const bool full = error == ENOSPC && !attempt.sync;
      CHECK(attempt.code == (full ? ErrorCode::out_of_disk : ErrorCode::io));
      guest.check_runs_on();
      if (attempt.sync) {
        guest.check_captured_no_more();
      } else {
        guest.check_captured_whole();
      }
      guest.check_runs_on();
    }
    CHECK(syncs > 0);
    CHECK(failed - syncs > static_cast<int>(kPieces));
    MESSAGE(failed << " calls, " << syncs << " of them syncs");
  }
}
