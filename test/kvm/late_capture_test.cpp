// Captures that are answered before they are written: what stands, what follows, and that nothing
// comes of one whose guest goes on.
#include <sys/stat.h>

#include "captured.hpp"
#include "state/overlay.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

constexpr wire::CaptureRequest kLate{
    .all_pages = false, .run_on = false, .list_pages = true, .write_later = true};

uint64_t data_bytes(const base::Fd& file) {
  struct stat info{};
  REQUIRE(::fstat(file.get(), &info) == 0);
  return static_cast<uint64_t>(info.st_blocks) * 512;
}

ErrorCode write_code(ControlClient& client) {
  return error_code(client.call(wire::WriteCaptureRequest{}).message);
}

// A guest that has written 64 MiB, and its disk: more than one step of the worker's.
struct LargeGuest {
  LargeGuest() {
    worker.shape(kShape);
    REQUIRE(error_code(worker.boot(touching_guest(kPages), true, {{base.get(), layer.get()}})) ==
            ErrorCode{});
    worker.kernel_log(10);
  }
  void check_runs_on() {
    worker.kernel_log(worker.kernel_log().size() + 20);
    CHECK_FALSE(is_paused(worker.owner()));
  }
  // As it does with a good capture, in whatever way that is taken.
  void check_captured_whole() {
    const base::Fd next = memory_file();
    auto captured = capture(worker.owner(), kLate, {next.get()});
    captured.reply = worker.owner().call_for<wire::CaptureReply>(wire::WriteCaptureRequest{});
    CHECK(captured_quad(captured, kTouchedAddress + (kPages - 1) * kPage) == 1);
    const base::Fd sealed = read_only(layer.get());
    const base::Fd own = memory_file();
    WorkerProcess clone;
    clone.shape(kShape);
    REQUIRE(error_code(clone.restore(zero_memory(kShape.memory_bytes).get(), captured.state.get(),
                                     true, {{base.get(), sealed.get(), own.get()}},
                                     {captured.pages.get()})) == ErrorCode{});
    clone.kernel_log(10);
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = true});
    CHECK(read_file(next.get()).empty());
  }

  static constexpr TinyShape kShape{.memory_bytes = 128 << 20, .disks = 1};
  static constexpr uint32_t kPages = 16 << 10;
  const base::Fd base = read_only(memory_file(std::string(1 << 20, 'b')).get());
  const base::Fd layer = memory_file();
  WorkerProcess worker;
};

}  // namespace

TEST_CASE("late capture: answered before anything is written, and whole when that is asked for") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(touching_guest(400, 2 * kPage), {.memory_bytes = 64 << 20});
    worker.kernel_log(50);
    auto captured = capture(worker.owner(), kLate);
    CHECK(captured.reply.unwritten);
    CHECK(captured.reply.page_bytes >= 400 * kPage);
    CHECK(captured.reply.listed_memory_bytes == 64u << 20);
    CHECK(data_bytes(captured.pages) == 0);
    CHECK(data_bytes(captured.state) == 0);
    worker.check_stands_still();

    const auto written = worker.owner().call_for<wire::CaptureReply>(wire::WriteCaptureRequest{});
    CHECK_FALSE(written.unwritten);
    CHECK(written.page_bytes == captured.reply.page_bytes);
    const auto runs = state::read_page_runs(captured.pages.get(), 64 << 20);
    REQUIRE(runs);
    CHECK(runs->page_count() * kPage == written.page_bytes);
    CHECK(is_paused(worker.owner()));
    CHECK(write_code(worker.owner()) == ErrorCode::cancelled);

    WorkerProcess clone(plain_io);
    REQUIRE(start_clone(clone, zero_memory(64 << 20), {&captured}, {.memory_bytes = 64 << 20}) ==
            ErrorCode{});
    CHECK(captured_quad(captured, kTouchedAddress + 399 * 2 * kPage) == 1);
    clone.kernel_log(50);
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    worker.kernel_log(worker.kernel_log().size() + 20);
  }
}

TEST_CASE("late capture: a new layer is on top only when all is written") {
  LargeGuest guest;
  const base::Fd next = memory_file();
  auto captured = capture(guest.worker.owner(), kLate, {next.get()});
  CHECK(captured.reply.unwritten);
  SUBCASE("the guest goes on before that") {
    for (const bool drop : {false, true}) {
      const base::Fd other = memory_file();
      guest.worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = drop});
      CHECK(read_file(next.get()).empty());
      guest.check_runs_on();
      captured = capture(guest.worker.owner(), kLate, {other.get()});
      guest.worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = drop});
      CHECK(read_file(other.get()).empty());
      CHECK(write_code(guest.worker.owner()) == ErrorCode::cancelled);
    }
  }
  SUBCASE("the guest goes on after it, as if nothing had been") {
    guest.worker.owner().call_for<wire::CaptureReply>(wire::WriteCaptureRequest{});
    CHECK_FALSE(read_file(next.get()).empty());
    guest.worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = true});
    CHECK(read_file(next.get()).empty());
  }
  guest.check_runs_on();
  guest.check_captured_whole();
}

TEST_CASE("late capture: a resume does not wait for the pages, and the writer is told") {
  LargeGuest guest;
  for (int round = 0; round < 5; ++round) {
    const base::Fd next = memory_file();
    const auto captured = capture(guest.worker.owner(), kLate, {next.get()});
    guest.worker.owner().send(wire::WriteCaptureRequest{});
    auto other = guest.worker.connect();
    other.call_for<wire::OkReply>(wire::ResumeRequest{});
    // In time or not: there is one answer, and no layer that was not written to stays.
    const ErrorCode code = error_code(guest.worker.owner().reply().message);
    CHECK((code == ErrorCode{} || code == ErrorCode::cancelled));
    if (code == ErrorCode::cancelled) CHECK(read_file(next.get()).empty());
    guest.check_runs_on();
  }
}

TEST_CASE("late capture: only who asked for it has it written") {
  LargeGuest guest;
  auto client = guest.worker.connect();
  const base::Fd next = memory_file();
  const auto captured = capture(client, kLate, {next.get()});
  CHECK(write_code(guest.worker.owner()) == ErrorCode::cancelled);
  CHECK(write_code(client) == ErrorCode{});
  CHECK(write_code(client) == ErrorCode::cancelled);
  CHECK(is_paused(client));
}

TEST_CASE("late capture: when its asker is gone, written or not, the machine runs on") {
  LargeGuest guest;
  for (const bool asks : {false, true}) {
    const base::Fd next = memory_file();
    {
      auto client = guest.worker.connect();
      const auto captured = capture(client, kLate, {next.get()});
      if (asks) client.send(wire::WriteCaptureRequest{});
    }
    guest.check_runs_on();
    if (!asks) CHECK(read_file(next.get()).empty());
  }
  guest.check_captured_whole();
}

TEST_CASE("late capture: another one, or a pause, takes its place") {
  LargeGuest guest;
  auto client = guest.worker.connect();
  const base::Fd first = memory_file();
  const auto unwritten = capture(client, kLate, {first.get()});
  SUBCASE("a capture") {
    const base::Fd second = memory_file();
    const auto captured = capture(guest.worker.owner(), kLate, {second.get()});
    CHECK_FALSE(captured.reply.unwritten);  // it was paused before
    CHECK(captured_quad(captured, kTouchedAddress) == 1);
    CHECK_FALSE(read_file(second.get()).empty());
    // The first asker's is not to be taken away: it has none.
    client.call_for<wire::OkReply>(wire::ResumeRequest{.drop_layers = true});
    CHECK_FALSE(read_file(second.get()).empty());
  }
  SUBCASE("a pause") {
    guest.worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
    guest.worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  }
  CHECK(read_file(first.get()).empty());
  CHECK(write_code(client) == ErrorCode::cancelled);
  guest.check_runs_on();
}

TEST_CASE("late capture: the end of the machine ends it") {
  LargeGuest guest;
  const base::Fd next = memory_file();
  const auto captured = capture(guest.worker.owner(), kLate, {next.get()});
  auto other = guest.worker.connect();
  CHECK(is_paused(other));
  guest.worker.owner().send(wire::WriteCaptureRequest{});
  other.call_for<wire::OkReply>(wire::TerminateRequest{});
  const ErrorCode code = error_code(guest.worker.owner().reply().message);
  CHECK((code == ErrorCode{} || code == ErrorCode::vm_gone));
  CHECK(guest.worker.wait_exit() == 0);
}

TEST_CASE("late capture: what does not go together with it is written at once") {
  WorkerProcess worker;
  worker.run(touching_guest(64));
  worker.kernel_log(10);
  wire::CaptureRequest no_list = kLate;
  no_list.list_pages = false;
  CHECK_FALSE(capture(worker.owner(), no_list).reply.unwritten);
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  wire::CaptureRequest running = kLate;
  running.run_on = true;
  const auto captured = capture(worker.owner(), running);
  CHECK_FALSE(captured.reply.unwritten);
  CHECK(captured_quad(captured, kTouchedAddress) == 1);
  CHECK_FALSE(is_paused(worker.owner()));
}

// Over memory that has data everywhere, single pages are copied in a jailed worker too, and a
// capture of such a clone has only what that clone wrote.
TEST_CASE("capture: of a clone that copied pages only what it wrote") {
  constexpr uint64_t kBytes = 64 << 20;
  constexpr uint32_t kPieces = 400;
  WorkerProcess worker;
  worker.run(touching_guest(kPieces, 4 * kPage), {.memory_bytes = kBytes});
  worker.kernel_log(50);
  const auto first = capture(worker.owner(), {.list_pages = true});
  const base::Fd memory = memory_file(std::string(kBytes, 'm'));
  WorkerProcess clone;
  REQUIRE(start_clone(clone, memory, {&first}, {.memory_bytes = kBytes}) == ErrorCode{});
  clone.kernel_log(50);
  const auto second = capture(clone.owner(), {.list_pages = true});
  CHECK(second.reply.page_bytes < 128 * 1024);
  WorkerProcess next;
  REQUIRE(start_clone(next, memory, {&first, &second}, {.memory_bytes = kBytes}) == ErrorCode{});
  next.kernel_log(50);
  const auto all = capture(next.owner(), {.all_pages = true, .list_pages = true});
  for (uint32_t i = 0; i < kPieces; ++i) {
    REQUIRE(captured_quad(all, kTouchedAddress + uint64_t{i} * 4 * kPage) == 1);
  }
}
