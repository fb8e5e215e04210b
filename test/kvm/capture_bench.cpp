// How long a capture stops a tiny guest, what a suspend has to write after it was answered, and how
// long a clone takes to start from it: at once, from the capture's form at rest (a resume, from the
// page cache or the disk), and each of a hundred (a fork). And what captures cost a guest that goes
// on writing its memory. Not tests: they run when they are asked for, by
//   kvm_tests --no-skip -tc='bench: capture*'
// and print a line of JSON for each shape of the written pages, and one for the guest that writes.
// RUNS in the environment: how often (50).
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "bench_series.hpp"
#include "captured.hpp"
#include "state/overlay.hpp"
#include "state/pages.hpp"
#include "sys/file.hpp"
#include "vmm/arch/x86_64/layout.hpp"

using namespace microvm;
using namespace microvm::vmm::test;

namespace {

using Clock = std::chrono::steady_clock;

constexpr TinyShape kShape{.memory_bytes = 128 << 20};
constexpr int kForks = 100;

// As the library asks.
constexpr wire::CaptureRequest kOfFork{.all_pages = true, .run_on = true, .list_pages = true};
constexpr wire::CaptureRequest kOfCheckpoint{.list_pages = true};
constexpr wire::CaptureRequest kOfSuspend{.run_on = false, .list_pages = true, .write_later = true};

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

// Pages at rest in a file of a disk, and none of it in the page cache.
class ColdFile {
 public:
  explicit ColdFile(const base::Fd& content) {
    const std::string bytes = read_file(content.get());
    REQUIRE(file_);
    REQUIRE(sys::pwrite_full(file_->get(), wire::as_bytes(bytes), 0));
    REQUIRE(::fsync(file_->get()) == 0);
    size_ = bytes.size();
  }
  // Whether it is: a file system in memory has no other place.
  bool make_cold() {
    ::posix_fadvise(file_->get(), 0, 0, POSIX_FADV_DONTNEED);
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file_->get(), 0);
    REQUIRE(mapped != MAP_FAILED);
    std::vector<unsigned char> in_cache((size_ + kPage - 1) / kPage);
    REQUIRE(::mincore(mapped, size_, in_cache.data()) == 0);
    ::munmap(mapped, size_);
    return std::ranges::none_of(in_cache, [](unsigned char page) { return (page & 1) != 0; });
  }
  [[nodiscard]] const base::Fd& fd() const { return *file_; }

 private:
  // As temporary files that are to outlive a restart, and so not in memory.
  const base::Fd directory_{::open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  Result<base::Fd> file_ = sys::open_unnamed(directory_.get());
  size_t size_ = 0;
};

// From the packed pages to the first byte that the guest puts out.
double resume_once(const base::Fd& memory, const Captured& captured, const base::Fd& packed) {
  WorkerProcess worker;
  worker.shape(kShape);
  std::this_thread::sleep_for(milliseconds(5));
  const auto asked = Clock::now();
  const auto overlay = zero_memory(kShape.memory_bytes);
  const auto runs = state::unpack_pages(packed.get(), overlay.get(), kShape.memory_bytes);
  REQUIRE(runs);
  REQUIRE(state::append_page_list(overlay.get(), kShape.memory_bytes, *runs));
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
  const auto captured = capture(source.owner(), kOfFork);
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

// A new one each time: in memory without a file, pages that a capture read count as written.
struct TakenGuest {
  TakenGuest(uint32_t pages, uint32_t stride, const wire::CaptureRequest& request) {
    worker.run(touching_guest(pages, stride), kShape);
    worker.kernel_log(100);
    captured = capture(worker.owner(), request);
  }
  // What is left of it; an older worker has left nothing.
  double write() {
    if (!captured.reply.unwritten) return 0;
    const auto asked = Clock::now();
    worker.owner().call_for<wire::CaptureReply>(wire::WriteCaptureRequest{});
    return microseconds(Clock::now() - asked);
  }
  WorkerProcess worker;
  Captured captured;
};

void measure(const char* name, uint32_t pages, uint32_t stride, int runs) {
  Series pause, suspend, write;
  Captured captured;
  for (int run = 0; run < runs; ++run) {
    const TakenGuest running(pages, stride, kOfCheckpoint);
    pause.add(static_cast<double>(running.captured.reply.pause_us));
    TakenGuest standing(pages, stride, kOfSuspend);
    suspend.add(static_cast<double>(standing.captured.reply.pause_us));
    write.add(standing.write());
    captured = std::move(standing.captured);
  }
  const auto zeros = zero_memory(kShape.memory_bytes);
  Restored restored;
  for (int run = 0; run < runs; ++run) restore_once(zeros, captured, restored);
  const base::Fd packed = memory_file();
  state::PackPagesOptions options;
  options.memory_bytes = kShape.memory_bytes;
  const auto stored = state::pack_pages(captured.pages.get(), packed.get(), options);
  REQUIRE(stored);
  Series resume;
  for (int run = 0; run < runs; ++run) resume.add(resume_once(zeros, captured, packed));
  ColdFile cold(packed);
  Series cold_resume;
  for (int run = 0; run < runs && cold.make_cold(); ++run) {
    cold_resume.add(resume_once(zeros, captured, cold.fd()));
  }
  const double per_fork = microseconds_per_fork(zeros, pages, stride);
  std::printf("{\"bench\":\"capture\",\"pages\":\"%s\",\"memory_mib\":128,\"runs\":%d", name, runs);
  std::printf(",\"page_bytes\":%llu", static_cast<unsigned long long>(captured.reply.page_bytes));
  std::printf(",\"stored_bytes\":%llu", static_cast<unsigned long long>(stored->stored_bytes));
  std::printf(",\"forks\":%d,\"fork_us_each\":%.0f", kForks, per_fork);
  pause.print("capture_pause_us");
  suspend.print("suspend_pause_us");
  write.print("suspend_write_us");
  restored.to_run.print("request_to_kvm_run_us");
  restored.to_reply.print("request_to_reply_us");
  restored.to_byte.print("request_to_first_byte_read_us");
  resume.print("resume_to_first_byte_us");
  if (!cold_resume.empty()) cold_resume.print("cold_resume_to_first_byte_us");
  std::printf("}\n");
}

int runs_wanted() {
  const char* text = std::getenv("RUNS");
  return text != nullptr ? std::atoi(text) : 50;
}

constexpr uint32_t kWrittenPages = 4096;

// Writes 16 MiB again and again, and prints a character every four times.
Code writing_guest() {
  Code code;
  for (int pass = 0; pass < 4; ++pass) code.touch_pages(kTouchedAddress, kWrittenPages, kPage);
  return code.write_port(vmm::layout::kSerialPort, '.').jump_to(0);
}

// Page faults of a process so far that needed no reading from a disk.
uint64_t minor_faults(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string field;
  for (int i = 0; i < 10; ++i) stat >> field;
  return std::stoull(field);
}

// The time the writing guest takes for so much, and the faults of its process meanwhile.
struct Stretch {
  Series us, faults;
  void measure(WorkerProcess& worker) {
    constexpr size_t kCharacters = 4;
    const size_t printed = worker.kernel_log().size();
    worker.kernel_log(printed + 1);
    const uint64_t faults_before = minor_faults(worker.pid());
    const auto from = Clock::now();
    worker.kernel_log(printed + 1 + kCharacters);
    us.add(microseconds(Clock::now() - from));
    faults.add(static_cast<double>(minor_faults(worker.pid()) - faults_before));
  }
  void print(const std::string& when) {
    us.print((when + "_us").c_str());
    faults.print((when + "_faults").c_str());
  }
};

}  // namespace

TEST_CASE("bench: capture of a tiny guest and a clone from it" * doctest::skip()) {
  const int runs = runs_wanted();
  measure("few", 1, kPage, runs);
  measure("4 MiB in one piece", 1024, kPage, runs);
  measure("4 MiB, every second page", 1024, 2 * kPage, runs);
  measure("4 MiB, every sixteenth page", 1024, 16 * kPage, runs);
}

TEST_CASE("bench: capture of a guest that writes its memory, and its speed" * doctest::skip()) {
  WorkerProcess worker;
  worker.run(writing_guest(), kShape);
  worker.kernel_log(3);
  const int runs = runs_wanted();
  Stretch never_captured, after_capture, later;
  for (int run = 0; run < runs; ++run) never_captured.measure(worker);
  for (int run = 0; run < runs; ++run) {
    capture(worker.owner());
    after_capture.measure(worker);
    later.measure(worker);
  }
  std::printf("{\"bench\":\"writing\",\"written_mib\":16,\"runs\":%d", runs);
  never_captured.print("never_captured");
  after_capture.print("after_capture");
  later.print("later");
  std::printf("}\n");
}
