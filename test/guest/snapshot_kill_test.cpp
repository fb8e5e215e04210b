// kill -9 of the worker while it writes a snapshot: an image is there as a whole or not at all.
//
// A hundred whole builds would take a hundred boots. So the builder, the store and the worker are
// the real ones, and only the guest that the builder asks for is a clone of the counter image
// instead of a fresh boot: what is saved, and how, is the same.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <optional>
#include <thread>

#include "fixture.hpp"
#include "host/image/builder.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/worker/control_client.hpp"
#include "sys/process.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kKills = 100;
constexpr const char* kTag = "killed";

sys::Process open_process(pid_t pid) {
  auto process = sys::Process::open(pid);
  REQUIRE_MESSAGE(process, why(process));
  return std::move(*process);
}

struct Plan {
  std::optional<microseconds> kill_after;  // counted from the snapshot's request
  microseconds took{0};                    // the snapshot, until its reply or the kill
};

class CloneGuest final : public host::BuildGuest {
 public:
  CloneGuest(host::Reactor& reactor, RunningVm vm, Plan& plan)
      : reactor_(reactor), vm_(std::move(vm)), plan_(plan) {}

  Result<host::SnapshotSizes> snapshot(int memory_fd, int state_fd,
                                       const CallLimits& limits) override;

  // The counter app runs already, and nothing is warmed up.
  Result<host::StepOutcome> run(const host::StepCommand&, const OutputSink&,
                                const CallLimits&) override {
    return host::StepOutcome{127, 0, {}};
  }
  Result<void> drop_caches(const CallLimits&) override { return {}; }
  Result<void> record_working_set(int, const CallLimits&) override {
    return base::fail(ErrorCode::unsupported, "a clone of the test has no working set");
  }
  [[nodiscard]] uint64_t boot_ms() const override { return 0; }
  [[nodiscard]] std::string kernel_cmdline() const override { return "quiet"; }
  Result<void> start(const host::StepCommand&, const CallLimits&) override { return {}; }
  Result<std::optional<host::StepOutcome>> settle(const CallLimits&) override {
    return std::nullopt;
  }
  std::optional<host::StepOutcome> command_end() override { return std::nullopt; }
  std::string app_log() override { return {}; }
  // A Dockerfile without steps asks for none of these.
  Result<void> put_files(const std::vector<host::FileToPut>&, const CallLimits&) override {
    return unexpected();
  }
  Result<void> end_programs(const CallLimits&) override { return unexpected(); }
  Result<void> wait_port(uint16_t, std::chrono::milliseconds, const CallLimits&) override {
    return unexpected();
  }
  Result<void> call_hook(const Hooks&, const HookKind&, const CallLimits&) override {
    return unexpected();
  }
  Result<void> power_off(const CallLimits&) override { return unexpected(); }

 private:
  static base::Failure unexpected() { return base::fail(ErrorCode::internal, "not asked for"); }

  host::Reactor& reactor_;
  RunningVm vm_;
  Plan& plan_;
};

Result<host::SnapshotSizes> CloneGuest::snapshot(int memory_fd, int state_fd,
                                                 const CallLimits& limits) {
  const auto worker = open_process(static_cast<pid_t>(vm_.info()->worker_pid));
  auto socket = host::connect_control(data_dir() / "vms" / vm_.id());
  REQUIRE_MESSAGE(socket, why(socket));
  const auto client = host::ControlClient::start(reactor_, std::move(*socket), {});
  const auto start = Clock::now();
  std::thread killer([&, after = plan_.kill_after] {
    if (!after) return;
    std::this_thread::sleep_until(start + *after);
    [[maybe_unused]] const auto killed = worker.kill();
  });
  const int fds[] = {memory_fd, state_fd};
  const auto reply = client->call(wire::SnapshotRequest{}, fds, host::Limits(limits), "snapshot");
  plan_.took = std::chrono::duration_cast<microseconds>(Clock::now() - start);
  killer.join();
  client->close();
  if (!reply) return base::fail(reply.error());
  const auto* sizes = std::get_if<wire::SnapshotReply>(&reply->message);
  REQUIRE(sizes != nullptr);
  return host::SnapshotSizes{sizes->memory_bytes, sizes->memory_data_bytes};
}

class CloneRunner final : public host::StepRunner {
 public:
  explicit CloneRunner(host::Reactor& reactor) : reactor_(reactor) {}
  Result<std::unique_ptr<host::BuildGuest>> boot(const host::BuildMachine&,
                                                 const CallLimits&) override {
    return std::make_unique<CloneGuest>(reactor_, run_counter(), plan);
  }
  Result<std::unique_ptr<host::BuildGuest>> restore(const host::BuildMachine& machine,
                                                    const host::SnapshotFiles&,
                                                    const CallLimits& limits) override {
    return boot(machine, limits);
  }
  Plan plan;

 private:
  host::Reactor& reactor_;
};

// Builds from clones in the store of the tests' runtime.
class CloneBuilds {
 public:
  CloneBuilds() {
    context_.write("Dockerfile", "FROM debian:bookworm\nCMD [\"true\"]\n");
    auto store = host::Store::open(data_dir());
    REQUIRE_MESSAGE(store, why(store));
    store_.emplace(std::move(*store));
  }
  Result<ImageInfo> build(std::optional<microseconds> kill_after) {
    runner_.plan = {kill_after, {}};
    BuildOptions options;
    options.context = context_.path();
    options.tag = kTag;
    options.memory_bytes = kGuestMemory;
    return host::build_image(*store_, runner_, options);
  }
  [[nodiscard]] microseconds took() const { return runner_.plan.took; }

 private:
  TempDir context_;
  std::optional<host::Store> store_;
  std::unique_ptr<host::Reactor> reactor_ = std::move(*host::Reactor::create());
  CloneRunner runner_{*reactor_};
};

// Whole: every file there, with the size and the digest its manifest says.
void check_whole_and_remove(const ImageInfo& image) {
  const auto found = runtime().image(kTag);
  REQUIRE_MESSAGE(found, why(found));
  CHECK(found->version == image.version);
  CHECK(fs::file_size(image_dir(kTag, image.version) / "memory") == kGuestMemory);
  CHECK(fs::file_size(image_dir(kTag, image.version) / "state") > 0);
  CHECK(runtime().remove_image(std::string(kTag) + ":" + image.version));
}

std::optional<pid_t> find_process(const std::string& name) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string comm;
    std::getline(std::ifstream(entry.path() / "comm"), comm);
    if (comm == name) return std::stoi(entry.path().filename().string());
  }
  return std::nullopt;
}

// Some of the memory of a build under way is written.
bool memory_is_being_written() {
  for (const auto& entry : fs::directory_iterator(data_dir() / "tmp")) {
    struct stat info{};
    const fs::path file = entry.path() / "entry" / "memory";
    if (::stat(file.c_str(), &info) == 0 && info.st_blocks > 0) return true;
  }
  return false;
}

void kill_in_the_middle(const std::atomic<bool>& give_up) {
  while (!memory_is_being_written()) {
    if (give_up) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (const auto pid = find_process("vm-build")) ::kill(*pid, SIGKILL);
}

Result<ImageInfo> build_whole(const ProgressSink& progress) {
  const TempDir context;
  context.write("Dockerfile", "FROM debian:bookworm\nCMD [\"sleep\", \"infinity\"]\n");
  BuildOptions options;
  options.context = context.path();
  options.tag = kTag;
  options.memory_bytes = 128u << 20;
  options.progress = progress;
  return runtime().build(options);
}

}  // namespace

TEST_CASE("a worker killed at a hundred points of a snapshot leaves no part of an image") {
  runtime();
  CloneBuilds builds;
  const auto first = builds.build(std::nullopt);
  REQUIRE_MESSAGE(first, why(first));
  check_whole_and_remove(*first);
  microseconds whole = builds.took();
  const Holdings before = settled_holdings();

  size_t killed = 0;
  for (size_t attempt = 0; killed < kKills && attempt < 2 * kKills; ++attempt) {
    CAPTURE(killed);
    const auto image = builds.build(whole * killed / kKills);
    if (image) {  // it was through before the signal came
      check_whole_and_remove(*image);
      whole = std::min(whole, builds.took());
      continue;
    }
    ++killed;
    INFO(image.error().message);
    CHECK(image.error().code == ErrorCode::vm_gone);
    CHECK(runtime().image(kTag).error().code == ErrorCode::not_found);
    check_nothing_left(before);
  }
  CHECK(killed == kKills);
  MESSAGE("a snapshot takes ", whole.count(), " us here");

  const auto next = builds.build(std::nullopt);
  REQUIRE_MESSAGE(next, why(next));
  check_whole_and_remove(*next);
}

TEST_CASE("a build whose worker is killed in its snapshot has failed, and the next one works") {
  runtime();
  const Holdings before = settled_holdings();
  std::atomic<bool> give_up{false};
  std::thread killer;
  const auto image = build_whole([&](const Progress& progress) {
    if (progress.step == "snapshot") killer = std::thread([&] { kill_in_the_middle(give_up); });
  });
  give_up = true;
  if (killer.joinable()) killer.join();
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::guest_failed);
  CHECK(image.error().message.find("killed") != std::string::npos);
  CHECK(runtime().image(kTag).error().code == ErrorCode::not_found);
  check_nothing_left(before);

  const auto next = build_whole({});
  REQUIRE_MESSAGE(next, why(next));
  auto vm = runtime().run(kTag);
  REQUIRE_MESSAGE(vm, why(vm));
  RunningVm clone(std::move(*vm));
  CHECK(shell(clone, "echo whole") == "whole\n");
}
