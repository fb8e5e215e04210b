// Each call by which a worker writes a capture fails once: the guest runs on, and the next capture
// is as good as if nothing had been. But when a disk could not be synced nobody knows what it has:
// it takes nothing more, and the guest is not captured again.
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "captured.hpp"
#include "tracer.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr uint32_t kPieces = 6;

struct Files {
  const base::Fd pages = memory_file();
  const base::Fd state = memory_file();
  const base::Fd layer = memory_file();  // the new one
  const int top;                         // the one it covers
};

struct Attempt {
  ErrorCode code{};
  bool answered = false;           // before all was written
  std::vector<std::string> calls;  // "sync top"
  bool reached = false;            // the call that was to fail
};

std::string file_name(pid_t pid, const Files& files, int fd) {
  struct stat its{};
  const auto path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  if (::stat(path.c_str(), &its) != 0) return "nothing";
  const auto is = [&](int ours) {
    struct stat info{};
    return ::fstat(ours, &info) == 0 && info.st_ino == its.st_ino;
  };
  if (is(files.pages.get())) return "pages";
  if (is(files.state.get())) return "state";
  if (is(files.layer.get())) return "layer";
  return is(files.top) ? "top" : "another file";
}

const char* kind_of(const Tracer::Call& call) {
  if (Tracer::syncs(call)) return "sync ";
  if (call.number == SYS_ftruncate) return "size ";
  return call.number == SYS_fallocate ? "room " : "write ";
}

// At once or later.
constexpr wire::CaptureRequest kLate{
    .all_pages = false, .run_on = false, .list_pages = true, .write_later = true};
constexpr const char* kCallsAtOnce =
    "size layer, write layer, size pages, sync top, write pages, write state";
constexpr const char* kCallsLate =
    "size layer, write layer, size pages, sync top, write state, write pages";

// The `number`th writing call fails; 0: none.
Attempt capture_with_failure(WorkerProcess& worker, const Files& files,
                             const wire::CaptureRequest& request, size_t number, int error) {
  Attempt attempt;
  Tracer tracer(worker.pid());
  auto reply = std::async(std::launch::async, [&] {
    auto answer =
        worker.owner().call(request, {files.pages.get(), files.state.get(), files.layer.get()});
    const auto* taken = std::get_if<wire::CaptureReply>(&answer.message);
    if (taken == nullptr || !taken->unwritten) return answer;
    attempt.answered = true;
    return worker.owner().call(wire::WriteCaptureRequest{});
  });
  const auto fail_one = [&](const Tracer::Call& call) {
    if (!Tracer::writes(call)) return 0;
    const int fd = static_cast<int>(call.arguments[0]);
    attempt.calls.push_back(kind_of(call) + file_name(worker.pid(), files, fd));
    if (attempt.calls.size() != number) return 0;
    attempt.reached = true;
    return error;
  };
  REQUIRE(tracer.follow(
      fail_one, [&] { return reply.wait_for(milliseconds(0)) == std::future_status::ready; }));
  attempt.code = error_code(reply.get().message);
  return attempt;
}

// Several alike in a row are one.
std::string in_a_row(const std::vector<std::string>& calls) {
  std::string row;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (i == 0 || calls[i] != calls[i - 1]) row += (row.empty() ? "" : ", ") + calls[i];
  }
  return row;
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

// The sync is of what was written before: all below the new layer is durable when it is told of.
TEST_CASE("capture: what a worker writes and syncs, in this order") {
  for (const auto& [request, calls] :
       {std::pair(kStayPaused, kCallsAtOnce), std::pair(kLate, kCallsLate)}) {
    Guest guest;
    const Files files{.top = guest.layer.get()};
    const auto attempt = capture_with_failure(guest.worker, files, request, 0, 0);
    CHECK(attempt.code == ErrorCode{});
    CHECK(in_a_row(attempt.calls) == calls);
    CHECK(std::ranges::count(attempt.calls, "write pages") > kPieces);
  }
}

namespace {

void check_after_failure(Guest& guest, const Files& files, const Attempt& attempt, int error) {
  const std::string& failed = attempt.calls.back() == "size layer" && attempt.calls.size() > 1
                                  ? attempt.calls[attempt.calls.size() - 2]
                                  : attempt.calls.back();
  const bool sync = failed == "sync top";
  const bool full = error == ENOSPC && !sync;
  CHECK(attempt.code == (full ? ErrorCode::out_of_disk : ErrorCode::io));
  CHECK(read_file(files.layer.get()).empty());
  if (attempt.answered) {
    CHECK(is_paused(guest.worker.owner()));
    guest.worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = true});
  }
  guest.check_runs_on();
  if (sync) {
    guest.check_captured_no_more();
  } else {
    guest.check_captured_whole();
  }
  guest.check_runs_on();
}

}  // namespace

TEST_CASE("capture: each write and sync of the worker fails once, and the guest runs on") {
  for (const auto& [request, whole] :
       {std::pair(kStayPaused, kCallsAtOnce), std::pair(kLate, kCallsLate)}) {
    for (const int error : {ENOSPC, EIO}) {
      INFO("errno ", error);
      std::vector<std::string> failed;
      for (;;) {
        const size_t number = failed.size() + 1;
        INFO("call ", number);
        Guest guest;
        const Files files{.top = guest.layer.get()};
        const auto attempt = capture_with_failure(guest.worker, files, request, number, error);
        if (!attempt.reached) {
          CHECK(attempt.code == ErrorCode{});
          CHECK(attempt.calls == failed);
          break;
        }
        failed.push_back(attempt.calls[number - 1]);
        // Nothing more is written, and the new layer is given up.
        auto calls = failed;
        if (failed.back() != "size layer") calls.push_back("size layer");
        CHECK(in_a_row(attempt.calls) == in_a_row(calls));
        check_after_failure(guest, files, attempt, error);
      }
      CHECK(in_a_row(failed) == whole);
    }
  }
}
