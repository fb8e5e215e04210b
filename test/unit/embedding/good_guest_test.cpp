// The library leaves the embedder's process as it found it: its signals, its files, its settings.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <clocale>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <set>
#include <thread>

#include "base/blocked_signals.hpp"
#include "host/image/ext4_fixtures.hpp"
#include "host/transfer/tar_sink.hpp"
#include "microvm/probe.hpp"
#include "microvm/runtime.hpp"
#include "state/frame_codec.hpp"
#include "unit/host/vm/fake_vm.hpp"

extern char** environ;  // NOLINT: the system's name

using namespace microvm;
using test::FakeHost;
using test::FakeVm;
using test::TempDir;

namespace {

const CallLimits kInTime{.cancel = nullptr, .timeout = std::chrono::seconds(30)};

// Its threads play other processes: as little as a worker's may they be taken for the library's.
struct OtherSide {
  explicit OtherSide(FakeHost& host) {
    const base::BlockedSignals blocked;
    vm = std::make_unique<FakeVm>(host);
  }
  std::unique_ptr<FakeVm> vm;
};

// Something of all that needs no guest: threads, files, imports, streams, a suspend that packs.
void use_everything(const TempDir& dir) {
  FakeHost host(dir / "vms");
  const OtherSide other(host);
  other.vm->captured_bytes = 32ull << 20;
  Vm vm(other.vm->attach(host));
  REQUIRE(vm.exec_collect({.argv = {"true"}}, {}, kInTime));
  const auto socket = vm.connect(80, kInTime);
  REQUIRE(socket);
  ::close(*socket);
  REQUIRE(vm.suspend({.wait_durable = false}, kInTime));
  REQUIRE(vm.resume({}));
  REQUIRE(vm.suspend({}, kInTime));

  auto runtime = Runtime::open({.data_dir = dir / "data", .log = {}, .on_event = {}});
  REQUIRE(runtime);
  const auto tar = test::TarMaker(dir / "root.tar").file("a", "content").done();
  REQUIRE(runtime->import_base("debian:12", tar, {.disk_bytes = 16u << 20, .progress = {}}));
  std::ofstream(dir / "Dockerfile") << "FROM debian:12\n";
  CHECK_FALSE(runtime->build({.context = dir.path(), .tag = "app"}));
  CHECK(runtime->bases()->size() == 1);
  static_cast<void>(probe_host());
}

using Dispositions = std::array<struct sigaction, NSIG>;

Dispositions dispositions() {
  Dispositions all{};
  for (int number = 1; number < NSIG; ++number) {
    ::sigaction(number, nullptr, &all[static_cast<size_t>(number)]);
  }
  return all;
}

bool same(const Dispositions& a, const Dispositions& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].sa_handler != b[i].sa_handler || a[i].sa_flags != b[i].sa_flags) return false;
  }
  return true;
}

std::string line_of(const std::filesystem::path& status, const std::string& name) {
  std::ifstream in(status);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name)) return line.substr(name.size());
  }
  return {};
}

size_t open_files() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

// Looks again and again at the present process while something else happens.
class Onlooker {
 public:
  explicit Onlooker(std::function<void()> look) {
    const base::BlockedSignals blocked;
    thread_ = std::jthread([look = std::move(look)](const std::stop_token& stop) {
      while (!stop.stop_requested()) look();
    });
  }

 private:
  std::jthread thread_;
};

// Whether all is blocked that can be; the C library keeps two signals for itself.
bool blocks_all(const std::string& mask) {
  constexpr uint64_t kAll = 0xffff'fffe'7ffb'feff;
  return (std::stoull(mask, nullptr, 16) & kAll) == kAll;
}

}  // namespace

TEST_CASE("good guest: the library's threads take no signals of the embedder's") {
  const TempDir dir;
  std::set<std::string> before;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    before.insert(task.path().filename());
  }
  std::atomic<int> seen = 0;
  std::set<std::string> open_ones;
  {
    const Onlooker onlooker([&] {
      std::error_code gone;
      for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", gone)) {
        if (before.contains(task.path().filename())) continue;
        const std::string blocked = line_of(task.path() / "status", "SigBlk:");
        // It has ended meanwhile: then there is no file any more, or no signals in it.
        const std::string threads = line_of(task.path() / "status", "Threads:");
        if (blocked.empty() || threads.empty() || threads == "\t0") continue;
        ++seen;
        if (!blocks_all(blocked)) open_ones.insert(blocked);
      }
    });
    use_everything(dir);
  }
  CHECK(seen > 10);
  for (const std::string& blocked : open_ones) CHECK_MESSAGE(false, blocked);
}

// They may be made in a call of the embedder's, on its own thread.
TEST_CASE("good guest: the threads that pack and unpack pages take none either") {
  constexpr unsigned kThreads = 4;
  std::mutex mutex;
  std::condition_variable arrived;
  std::set<std::thread::id> all;
  std::set<std::thread::id> open_ones;
  // None begins before all are there.
  const auto meet = [&]() -> state::FrameWork {
    std::unique_lock lock(mutex);
    all.insert(std::this_thread::get_id());
    if (!blocks_all(line_of("/proc/thread-self/status", "SigBlk:"))) {
      open_ones.insert(std::this_thread::get_id());
    }
    arrived.notify_all();
    arrived.wait_for(lock, std::chrono::seconds(20), [&] { return all.size() == kThreads; });
    return [](size_t) { return Result<void>(); };
  };
  REQUIRE(state::for_each_frame(kThreads, kThreads, meet));
  CHECK(all.size() == kThreads);
  open_ones.erase(std::this_thread::get_id());
  CHECK(open_ones.empty());
}

TEST_CASE("good guest: signals, settings and directories are as they were before") {
  const TempDir dir;
  const Dispositions signals = dispositions();
  const std::string mask = line_of("/proc/self/status", "SigBlk:");
  const std::string umask = line_of("/proc/self/status", "Umask:");
  const std::string locale = std::setlocale(LC_ALL, nullptr);
  const auto directory = std::filesystem::current_path();
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  const auto format = std::cout.flags();
  const size_t files = open_files();

  use_everything(dir);

  CHECK(same(dispositions(), signals));
  CHECK(line_of("/proc/self/status", "SigBlk:") == mask);
  CHECK(line_of("/proc/self/status", "Umask:") == umask);
  CHECK(std::setlocale(LC_ALL, nullptr) == locale);
  CHECK(std::filesystem::current_path() == directory);
  size_t at = 0;
  for (char** entry = environ; *entry != nullptr; ++entry, ++at) {
    REQUIRE(at < environment.size());
    CHECK(*entry == environment[at]);
  }
  CHECK(std::cout.flags() == format);
  CHECK(open_files() == files);
}

namespace {

// The files below a directory that a program would have that is started now.
std::set<std::string> inherited(const std::filesystem::path& below) {
  std::set<std::string> leaks;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", gone)) {
    const int flags = ::fcntl(std::stoi(entry.path().filename()), F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0) continue;
    const std::string file = std::filesystem::read_symlink(entry.path(), gone).string();
    if (file.starts_with(below.string() + "/")) leaks.insert(file);
  }
  return leaks;
}

}  // namespace

// An embedder that starts a program at any moment must not hand our files to it.
TEST_CASE("good guest: no file is open for a moment without close-on-exec") {
  const TempDir dir;
  std::set<std::string> leaks;
  {
    const Onlooker onlooker([&] { leaks.merge(inherited(dir.path())); });
    use_everything(dir);
  }
  for (const std::string& leak : leaks) CHECK_MESSAGE(false, leak);
}

TEST_CASE(
    "good guest: in a callback the files are close-on-exec and the locale is the embedder's") {
  const TempDir dir;
  auto runtime = Runtime::open({.data_dir = dir / "data", .log = {}, .on_event = {}});
  REQUIRE(runtime);
  const auto tar = test::TarMaker(dir / "root.tar").file("a", "content").done();
  const locale_t own = ::newlocale(LC_ALL_MASK, "C.UTF-8", nullptr);
  const locale_t before = ::uselocale(own);
  int calls = 0;
  const auto look = [&](const Progress&) {
    ++calls;
    CHECK(::uselocale(nullptr) == own);
    CHECK(inherited(dir.path()).empty());
  };
  CHECK(runtime->import_base("debian:12", tar, {.disk_bytes = 16u << 20, .progress = look}));
  CHECK(calls > 0);
  const DataSink take = [&](std::span<const std::byte>) -> Result<void> {
    CHECK(::uselocale(nullptr) == own);
    return {};
  };
  {
    host::TarSink sink(take, "top");
    REQUIRE(sink.open());
    CHECK(::uselocale(nullptr) != own);
    CHECK(sink.begin({.info = {.name = {}, .type = FileType::directory, .link_target = {}},
                      .hard_link_to = {},
                      .extents = {}}));
    CHECK(sink.finish());
  }
  CHECK(::uselocale(before) == own);
  ::freelocale(own);
}

namespace {

std::atomic<int> broken_pipes = 0;

// Counts instead of ending the process.
class PipeSignals {
 public:
  PipeSignals() {
    broken_pipes = 0;
    struct sigaction count{};
    count.sa_handler = [](int) { ++broken_pipes; };
    ::sigaction(SIGPIPE, &count, &before_);
  }
  ~PipeSignals() { ::sigaction(SIGPIPE, &before_, nullptr); }
  PipeSignals(const PipeSignals&) = delete;
  PipeSignals& operator=(const PipeSignals&) = delete;

 private:
  struct sigaction before_{};
};

}  // namespace

TEST_CASE("good guest: a peer that is gone is an error of the call, never SIGPIPE") {
  const PipeSignals signals;
  const TempDir dir;
  FakeHost host(dir.path());
  FakeVm fake(host);
  Vm vm(fake.attach(host));
  REQUIRE(vm.exec_collect({.argv = {"true"}}, {}, kInTime));
  fake.agent_hangs_up = true;
  CHECK_FALSE(vm.exec_collect({.argv = {"true"}}, {}, kInTime));
  CHECK_FALSE(vm.write_file("/x", std::vector<std::byte>(1 << 20), {}, kInTime));
  fake.kill();
  CHECK_FALSE(vm.connect(80, kInTime));
  CHECK_FALSE(vm.suspend({}, kInTime));
  CHECK(broken_pipes == 0);
}
