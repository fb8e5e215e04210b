// Captures of running tiny guests: what the clones see, and that the source goes on.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <x86intrin.h>

#include <memory>
#include <optional>
#include <thread>

#include "captured.hpp"
#include "own_tsc.hpp"
#include "state/exit_record.hpp"
#include "state/kept_logs.hpp"
#include "state/overlay.hpp"
#include "state/sections.hpp"
#include "sys/file.hpp"
#include "vmm/platform/log_ring.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

// The guest prints right after it has counted: it was captured before or after that.
void check_continues(const Captured& captured, char first) {
  const uint64_t count = captured_quad(captured);
  CHECK((first == counter_character(count) || first == counter_character(count + 1)));
}

uint64_t captured_clock_ns(const Captured& captured) {
  const std::string bytes = read_file(captured.state.get());
  const auto state = state::Reader::parse(wire::as_bytes(bytes));
  REQUIRE(state);
  const auto section = state->find(state::SectionId::clock, 0, 1);
  REQUIRE(section);
  return wire::ByteReader(section->body).get<uint64_t>();
}

void check_runs_on(WorkerProcess& worker) {
  worker.kernel_log(worker.kernel_log().size() + 20);
  CHECK_FALSE(is_paused(worker.owner()));
}

wire::ExitEvent::Reason recorded_reason(const base::Fd& record) {
  const std::string bytes = read_file(record.get());
  const auto exit = state::decode_exit_record(wire::as_bytes(bytes));
  REQUIRE(exit);
  return exit->reason;
}

}  // namespace

TEST_CASE("capture: a clone has the state of that moment, and the source goes on") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(counting_guest(), {.vcpus = 2});
    worker.kernel_log(100);
    const auto captured = capture(worker.owner());
    CHECK(captured.reply.page_bytes > 0);
    CHECK(captured.reply.page_bytes <= 8u << 20);  // a host may use pages of 2 MiB
    CHECK(captured.reply.pause_us > 0);
    check_runs_on(worker);
    const auto zeros = zero_memory();
    for (int i = 0; i < 2; ++i) {
      WorkerProcess clone(plain_io);
      REQUIRE(start_clone(clone, zeros, {&captured}, {.vcpus = 2}) == ErrorCode{});
      check_continues(captured, clone.kernel_log(50)[0]);
    }
    check_runs_on(worker);
  }
}

TEST_CASE("capture: the overlay has what it says, whether room was made for it or not") {
  for (const uint32_t stride : {kPage, 2 * kPage, 16 * kPage}) {
    for (const auto& request : {wire::CaptureRequest{}, kStayPaused}) {
      WorkerProcess worker;
      worker.run(touching_guest(400, stride), {.memory_bytes = 64 << 20});
      worker.kernel_log(10);
      const auto captured = capture(worker.owner(), request);
      uint64_t data = 0;
      const auto add = [&](uint64_t, uint64_t length) -> Result<void> {
        data += length;
        return {};
      };
      REQUIRE(sys::for_each_data_range(captured.pages.get(), add));
      CHECK(data == captured.reply.page_bytes);
      CHECK(data >= 400 * kPage);
      for (uint32_t i = 0; i < 400; ++i) {
        REQUIRE(captured_quad(captured, kTouchedAddress + uint64_t{i} * stride) == 1);
      }
    }
  }
}

// What a file system with larger blocks than a page does, and worse: every byte that was not
// written is data, and no zeros.
void fill_holes(const base::Fd& file, uint64_t bytes) {
  const std::vector<std::byte> junk(kPage, std::byte{0xe5});
  for (uint64_t at = 0; at < bytes; at += kPage) {
    const off_t data = ::lseek(file.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data == static_cast<off_t>(at)) continue;
    REQUIRE(sys::pwrite_full(file.get(), junk, at));
  }
}

TEST_CASE("capture: the list of its pages decides what an overlay replaces") {
  for (const bool run_on : {false, true}) {
    WorkerProcess worker;
    worker.run(counting_guest());
    worker.kernel_log(50);
    const auto captured =
        capture(worker.owner(), {.all_pages = false, .run_on = run_on, .list_pages = true});
    CHECK(captured.reply.listed_memory_bytes == TinyShape{}.memory_bytes);
    const auto runs =
        state::read_page_runs(captured.pages.get(), captured.reply.listed_memory_bytes);
    REQUIRE(runs);
    CHECK(runs->page_count() * kPage == captured.reply.page_bytes);
    CHECK(captured.reply.page_bytes < TinyShape{}.memory_bytes);
    fill_holes(captured.pages, captured.reply.listed_memory_bytes);
    WorkerProcess clone;
    REQUIRE(start_clone(clone, zero_memory(), {&captured}) == ErrorCode{});
    check_continues(captured, clone.kernel_log(50)[0]);
  }
}

TEST_CASE("capture: asked to, the machine stays paused until it is resumed") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(50);
  for (int round = 0; round < 5; ++round) {
    const auto captured = capture(worker.owner(), kStayPaused);
    worker.check_stands_still();
    const std::string before = worker.kernel_log();
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    check_runs_on(worker);
    check_continues(captured, worker.kernel_log()[before.size()]);
  }
}

TEST_CASE("capture: a machine that was paused before stays so") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(50);
  worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
  const auto first = capture(worker.owner());
  const auto second = capture(worker.owner(), kStayPaused);
  CHECK(is_paused(worker.owner()));
  CHECK(captured_quad(first) == captured_quad(second));
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  check_runs_on(worker);
}

TEST_CASE("capture: what others ask for meanwhile is not refused") {
  for (const bool plain_io : {false, true}) {
    WorkerProcess worker(plain_io);
    worker.run(counting_guest());
    auto asks = worker.connect();
    auto pauses = worker.connect();
    auto leaves = std::make_optional(worker.connect());
    for (auto* client : {&asks, &pauses, &*leaves}) CHECK_FALSE(is_paused(*client));
    const base::Fd pages = memory_file();
    const base::Fd state = memory_file();
    const base::Fd of_no_use = memory_file();
    // All of it is there when the worker looks; the capture takes a look as well.
    REQUIRE(::kill(worker.pid(), SIGSTOP) == 0);
    REQUIRE(::waitpid(worker.pid(), nullptr, WUNTRACED) == worker.pid());
    worker.owner().send(kAllPages, {pages.get(), state.get()});
    leaves->send(kStayPaused, {of_no_use.get(), of_no_use.get()});
    leaves.reset();
    pauses.send(wire::PauseRequest{});
    asks.send(wire::InfoRequest{});
    REQUIRE(::kill(worker.pid(), SIGCONT) == 0);
    CHECK(error_code(asks.reply().message) == ErrorCode{});
    CHECK(error_code(pauses.reply().message) == ErrorCode{});
    CHECK(error_code(worker.owner().reply().message) == ErrorCode{});
    CHECK(is_paused(worker.owner()));
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    check_runs_on(worker);
  }
}

TEST_CASE("capture: when who asked for the pause is gone, the machine runs on") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(50);
  {
    auto client = worker.connect();
    const auto captured = capture(client, kStayPaused);
    CHECK(is_paused(worker.owner()));
  }
  check_runs_on(worker);
  {
    auto client = worker.connect();
    const base::Fd pages = memory_file();
    const base::Fd state = memory_file();
    client.send(kStayPaused, {pages.get(), state.get()});  // gone before it is done
  }
  check_runs_on(worker);
  const size_t files = worker.open_files();
  {
    auto client = worker.connect();
    const auto captured = capture(client, kStayPaused);
    worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});  // now it is the owner's pause
    CHECK(worker.open_files() > files);
  }
  while (worker.open_files() > files) CHECK(is_paused(worker.owner()));  // until it has noticed
  worker.check_stands_still();
  worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
  check_runs_on(worker);
}

TEST_CASE("capture: of a clone only what it wrote, or all that its overlays have as well") {
  constexpr uint32_t kTouched = 512;
  WorkerProcess worker;
  worker.run(touching_guest(kTouched));
  worker.kernel_log(20);
  const auto first = capture(worker.owner());
  CHECK(first.reply.page_bytes >= kTouched * 4096);
  const auto zeros = zero_memory();

  WorkerProcess clone;
  REQUIRE(start_clone(clone, zeros, {&first}) == ErrorCode{});
  clone.kernel_log(20);
  const auto second = capture(clone.owner());
  CHECK(second.reply.page_bytes < 128 * 1024);
  clone.kernel_log(60);
  const auto all = capture(clone.owner(), kAllPages);
  CHECK(all.reply.page_bytes >= first.reply.page_bytes);
  CHECK(all.reply.page_bytes < first.reply.page_bytes + 128 * 1024);
  check_runs_on(clone);

  WorkerProcess on_two;
  REQUIRE(start_clone(on_two, zeros, {&first, &second}) == ErrorCode{});
  check_continues(second, on_two.kernel_log(20)[0]);
  const auto third = capture(on_two.owner(), kAllPages);
  CHECK(captured_quad(third, kTouchedAddress + (kTouched - 1) * 4096) == 1);
  WorkerProcess on_one;
  REQUIRE(start_clone(on_one, zeros, {&all}) == ErrorCode{});
  check_continues(all, on_one.kernel_log(20)[0]);
  WorkerProcess on_third;
  REQUIRE(start_clone(on_third, zeros, {&third}) == ErrorCode{});
  check_continues(third, on_third.kernel_log(20)[0]);
}

TEST_CASE("capture: over a full snapshot, and a full snapshot over a capture") {
  WorkerProcess worker;
  worker.run(touching_guest(64));
  worker.kernel_log(20);
  const base::Fd memory = memory_file();
  const base::Fd state = memory_file();
  worker.owner().call_for<wire::SnapshotReply>(wire::SnapshotRequest{},
                                               {memory.get(), state.get()});
  WorkerProcess clone;
  clone.shape();
  REQUIRE(error_code(clone.restore(memory.get(), state.get())) == ErrorCode{});
  clone.kernel_log(20);
  const auto captured = capture(clone.owner());
  CHECK(captured.reply.page_bytes < 64 * 4096);

  WorkerProcess second;
  REQUIRE(start_clone(second, memory, {&captured}) == ErrorCode{});
  check_continues(captured, second.kernel_log(20)[0]);
  const base::Fd flat_memory = memory_file();
  const base::Fd flat_state = memory_file();
  const auto flat = second.owner().call_for<wire::SnapshotReply>(
      wire::SnapshotRequest{}, {flat_memory.get(), flat_state.get()});
  CHECK(flat.memory_data_bytes >= 64 * 4096);
  WorkerProcess third;
  third.shape();
  REQUIRE(error_code(third.restore(flat_memory.get(), flat_state.get())) == ErrorCode{});
  third.kernel_log(20);
}

TEST_CASE("capture: a hundred forks share the captured pages") {
  constexpr uint32_t kTouched = 1024;
  WorkerProcess worker;
  worker.run(touching_guest(kTouched));
  worker.kernel_log(20);
  const auto captured = capture(worker.owner(), kStayPaused);
  REQUIRE(captured.reply.page_bytes >= kTouched * 4096);
  const auto zeros = zero_memory();
  std::vector<std::unique_ptr<WorkerProcess>> forks;
  for (int i = 0; i < 100; ++i) {
    forks.push_back(std::make_unique<WorkerProcess>());
    WorkerProcess& fork = *forks.back();
    REQUIRE(start_clone(fork, zeros, {&captured}) == ErrorCode{});
    check_continues(captured, fork.kernel_log(5)[0]);
    // Whatever is not a page of its own is one of the file, which all of them have. Paused, it
    // leaves the processor to the next ones.
    CHECK(capture(fork.owner(), kStayPaused).reply.page_bytes < 128 * 1024);
  }
}

TEST_CASE("capture: a full disk is an error, and the guest runs on") {
  WorkerProcess worker;
  worker.run(touching_guest(64));
  worker.kernel_log(10);
  rlimit old{};
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, nullptr, &old) == 0);
  const rlimit small{12 << 20, old.rlim_max};
  const base::Fd pages = memory_file();
  const base::Fd state = memory_file();
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, &small, nullptr) == 0);
  const auto reply = worker.owner().call(kStayPaused, {pages.get(), state.get()});
  CHECK(error_code(reply.message) != ErrorCode{});
  REQUIRE(::prlimit(worker.pid(), RLIMIT_FSIZE, &old, nullptr) == 0);
  check_runs_on(worker);
  CHECK(capture(worker.owner()).reply.page_bytes > 0);
}

TEST_CASE("capture: only with the files it asks for, all of them empty") {
  WorkerProcess worker;
  worker.run(counting_guest());
  const auto code_with = [&](const std::vector<int>& fds) {
    return error_code(worker.owner().call(wire::CaptureRequest{}, fds).message);
  };
  const base::Fd empty = memory_file();
  const base::Fd full = memory_file("something");
  CHECK(code_with({}) == ErrorCode::invalid_argument);
  CHECK(code_with({empty.get()}) == ErrorCode::invalid_argument);
  CHECK(code_with({empty.get(), empty.get(), empty.get()}) == ErrorCode::invalid_argument);
  CHECK(code_with({full.get(), empty.get()}) == ErrorCode::invalid_argument);
  CHECK(code_with({empty.get(), full.get()}) == ErrorCode::invalid_argument);
  check_runs_on(worker);
  WorkerProcess shaped;
  shaped.shape();
  CHECK(error_code(shaped.owner().call(wire::CaptureRequest{}).message) == ErrorCode::busy);
}

TEST_CASE("restore: an overlay that does not fit is refused") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(10);
  auto captured = capture(worker.owner());
  const auto zeros = zero_memory();
  const auto code_with = [&](const std::vector<int>& overlays) {
    WorkerProcess clone;
    clone.shape();
    const auto reply = clone.restore(zeros.get(), captured.state.get(), true, {}, overlays);
    clone.owner().send(wire::TerminateRequest{});
    CHECK(clone.wait_exit() == 0);
    return error_code(reply);
  };
  const int good = captured.pages.get();
  CHECK(code_with({good}) == ErrorCode{});
  CHECK(code_with({good, good, good, good}) == ErrorCode{});
  CHECK(code_with({good, good, good, good, good}) == ErrorCode::invalid_argument);
  const base::Fd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(code_with({device.get()}) == ErrorCode::corrupt);
  CHECK(code_with({zero_memory(8 << 20).get()}) == ErrorCode::corrupt);
  REQUIRE(::ftruncate(good, 12 << 20) == 0);
  CHECK(code_with({good}) == ErrorCode::corrupt);

  WorkerProcess clone;
  clone.shape();
  const auto reply = clone.owner().call(wire::RestoreRequest{{"clone", true}, {}, 1},
                                        {zeros.get(), captured.state.get()});
  CHECK(error_code(reply.message) == ErrorCode::invalid_argument);
}

// The guest may have seen all the time but that of its pause; the rest is for clocks that drift.
TEST_CASE("resume: the guest's clocks go on where they stood") {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPause = milliseconds(1500);
  const bool own_tsc = a_guest_has_a_tsc_of_its_own();
  MESSAGE((own_tsc ? "tsc of its own" : "the host's tsc"));
  for (const bool by_pause : {false, true}) {
    WorkerProcess worker;
    worker.run(clock_guest(), {.vcpus = 2});
    worker.kernel_log(100);
    const auto begin = Clock::now();
    const uint64_t begin_ticks = __rdtsc();
    const auto before = capture(worker.owner(), by_pause ? wire::CaptureRequest{} : kStayPaused);
    if (by_pause) worker.owner().call_for<wire::OkReply>(wire::PauseRequest{});
    const uint64_t paused_ticks = __rdtsc();
    std::this_thread::sleep_for(kPause);
    const uint64_t pause_ticks = __rdtsc() - paused_ticks;
    // What is captured of a paused machine has not seen the pause either.
    const auto meanwhile = capture(worker.owner());
    worker.owner().call_for<wire::OkReply>(wire::ResumeRequest{});
    worker.kernel_log(worker.kernel_log().size() + 50);
    const auto after = capture(worker.owner());
    const auto ran = Clock::now() - begin - kPause + kPause / 4;
    const auto ran_ns = static_cast<uint64_t>(std::chrono::nanoseconds(ran).count());
    const uint64_t ran_ticks = __rdtsc() - begin_ticks - pause_ticks + pause_ticks / 4;

    CHECK(captured_quad(after) > captured_quad(before));
    if (own_tsc) CHECK(captured_quad(after) - captured_quad(before) < ran_ticks);
    CHECK(captured_clock_ns(meanwhile) >= captured_clock_ns(before));
    CHECK(captured_clock_ns(meanwhile) - captured_clock_ns(before) < ran_ns);
    CHECK(captured_clock_ns(after) > captured_clock_ns(meanwhile));
    CHECK(captured_clock_ns(after) - captured_clock_ns(before) < ran_ns);
  }
}

TEST_CASE("suspend: the end says so, and the next life goes on with log and record") {
  WorkerProcess worker;
  worker.run(counting_guest());
  worker.kernel_log(100);
  const auto captured = capture(worker.owner(), kStayPaused);
  worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{.suspended = true});
  CHECK(worker.owner().wait_for<wire::ExitEvent>().reason == wire::ExitEvent::Reason::suspended);
  CHECK(worker.wait_exit() == 0);
  const std::string old_log = read_file(worker.files().kernel_log.get());
  CHECK(old_log.size() >= 100);
  CHECK(recorded_reason(worker.files().exit_record) == wire::ExitEvent::Reason::suspended);

  WorkerProcess next;
  next.use_files(worker.take_files());
  const auto zeros = zero_memory();
  REQUIRE(start_clone(next, zeros, {&captured}) == ErrorCode{});
  const std::string log = next.kernel_log(old_log.size() + 50);
  CHECK(log.substr(0, old_log.size()) == old_log);
  check_continues(captured, log[old_log.size()]);
  next.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(next.wait_exit() == 0);
  CHECK(recorded_reason(next.files().exit_record) == wire::ExitEvent::Reason::terminated);
  CHECK(read_file(next.files().kernel_log.get()).starts_with(old_log));
}

TEST_CASE("suspend: of a kept log that is too long, the end is taken") {
  WorkerProcess worker;
  const std::string long_log(vmm::kLogRingBytes + 1000, 'x');
  worker.shape();
  const auto& kept = worker.files().kernel_log;
  REQUIRE(::pwrite(kept.get(), (long_log + "the end\n").data(), long_log.size() + 8, 0) > 0);
  REQUIRE(error_code(worker.boot(counting_guest())) == ErrorCode{});
  const std::string log = worker.kernel_log();
  CHECK(log.size() <= vmm::kLogRingBytes);
  CHECK(log.find("the end\n") != std::string::npos);
  worker.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(worker.wait_exit() == 0);
  CHECK(read_file(kept.get()).size() == vmm::kLogRingBytes);
}

TEST_CASE("logs: of a worker that is killed the log is kept, and the next life goes on in it") {
  WorkerProcess worker;
  const auto saved = [&] {
    WorkerProcess source;
    source.run(counting_guest());
    source.kernel_log(10);
    return capture(source.owner(), kStayPaused);
  }();
  const auto zeros = zero_memory();
  worker.keep_logs();
  REQUIRE(start_clone(worker, zeros, {&saved}) == ErrorCode{});
  const std::string printed = worker.kernel_log(100);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  worker.kill();
  const auto kept = [](const WorkerProcess& process) {
    const auto logs = state::read_kept_logs(process.files().kept_logs.get());
    REQUIRE((logs && *logs));
    const auto bytes =
        state::read_kept_log(process.files().kept_logs.get(), **logs, state::KeptLogIndex::kernel);
    REQUIRE(bytes);
    return std::string(wire::as_text(*bytes));
  };
  const std::string left = kept(worker);
  CHECK(left.size() >= printed.size());  // a second later; full, once it is
  if (left.size() < vmm::kLogRingBytes) CHECK(left.substr(0, printed.size()) == printed);

  WorkerProcess next;
  next.use_files(worker.take_files());
  REQUIRE(start_clone(next, zeros, {&saved}) == ErrorCode{});
  next.owner().call_for<wire::OkReply>(wire::TerminateRequest{});
  CHECK(next.wait_exit() == 0);
  CHECK(kept(next) == read_file(next.files().kernel_log.get()));
}
