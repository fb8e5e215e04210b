// A merge of layers whose embedder or worker is killed: the disk reads as before, and the next
// merge ends what this one began.
#include "host/worker/merge_layers.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "host/saved/layer_checks.hpp"
#include "host/saved/vm_files.hpp"
#include "host/vm/core.hpp"
#include "unit/file_calls.hpp"
#include "vmm/disk/disk_files.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
namespace fs = std::filesystem;

namespace {

constexpr size_t kDisk = 4u << 20;
constexpr size_t kLayers = kMaxSavedLayers + 1;

// The directory of a Vm that sleeps on as many layers as are merged.
struct SleepingVm {
  SleepingVm() {
    files.write_file("base", pattern(kDisk, 1));
    std::vector<std::string> names{"base"};
    for (unsigned number = 1; number <= kLayers; ++number) {
      names.push_back(numbered_file(VmFileKind::layer, number));
      write_some(names, number);
      saved.layers.push_back(names.back());
    }
    saved.saved = "2026-11-28T00:00:00Z";
    saved.state = numbered_file(VmFileKind::state, 1);
    REQUIRE(write_saved(dir(), saved));
  }
  void write_some(const std::vector<std::string>& names, unsigned seed) {
    auto disk = open_disk(*loop, files, names, {.format_bytes = kDisk});
    REQUIRE(disk);
    REQUIRE(scribble(*disk, kDisk, seed) == 0);
    REQUIRE(disk->flush() == 0);
  }
  [[nodiscard]] fs::path dir() const { return fs::path(files.path("base")).parent_path(); }
  // As the last record has it.
  Data content(size_t* layers = nullptr) {
    const auto now = read_saved(dir());
    REQUIRE(now);
    REQUIRE(now->has_value());
    std::vector<std::string> names{"base"};
    names.insert(names.end(), (*now)->layers.begin(), (*now)->layers.end());
    if (layers != nullptr) *layers = (*now)->layers.size();
    auto disk = open_disk(*loop, files, names, {.read_only = true});
    REQUIRE(disk);
    return disk->read(0, kDisk);
  }

  DiskFiles files;
  SavedState saved;
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
};

Result<void> merge(const fs::path& store, const fs::path& dir) {
  RuntimeOptions options;
  options.data_dir = store;
  const auto core = Core::open(options, Limits({}));
  if (!core) return base::fail(core.error());
  auto saved = read_saved(dir);
  if (!saved) return base::fail(saved.error());
  return merge_saved_layers(*(*core)->spawner, dir, **saved, Limits(CallLimits{}));
}

// In a process that is killed at the `number`th of its own calls, before that is made.
pid_t start_merge(const fs::path& store, const fs::path& dir, size_t number) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  FileCalls calls(dir);
  size_t made = 0;
  calls.before_each([&](const FileCall&) {
    if (++made == number) ::kill(::getpid(), SIGKILL);
  });
  ::_exit(merge(store, dir) ? 0 : 1);
}

// The worker that its first thread has, or 0 when it is gone without one.
pid_t wait_for_child_of(pid_t parent) {
  const std::string process = std::to_string(parent);
  for (;;) {
    pid_t child = 0;
    if (std::ifstream("/proc/" + process + "/task/" + process + "/children") >> child) return child;
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(parent), &ended, WEXITED | WNOHANG | WNOWAIT);
    if (ended.si_pid == parent) return 0;
    ::sched_yield();
  }
}

int wait_for(pid_t process) {
  int status = -1;
  REQUIRE(::waitpid(process, &status, 0) == process);
  return status;
}

void check_merges_again(const fs::path& store, SleepingVm& vm, const Data& before) {
  const auto again = merge(store, vm.dir());
  REQUIRE_MESSAGE(again, (again ? "" : again.error().message));
  size_t layers = 0;
  CHECK(vm.content(&layers) == before);
  CHECK(layers <= kMaxSavedLayers);  // when there are no more it has nothing to do
}

}  // namespace

TEST_CASE("merge: killed at any of the library's calls it changes nothing that the disk reads") {
  // A record for each merge: write, sync, rename, sync.
  constexpr size_t kCallsOfTwoMerges = 8;
  const TempDir store;
  for (size_t number = 1; number <= kCallsOfTwoMerges; ++number) {
    INFO("call ", number);
    SleepingVm vm;
    const Data before = vm.content();
    REQUIRE(WIFSIGNALED(wait_for(start_merge(store.path(), vm.dir(), number))));
    size_t layers = 0;
    CHECK(vm.content(&layers) == before);
    CHECK(layers == kLayers - number / 4);  // from the fourth call on the next record is there
    check_merges_again(store.path(), vm, before);
  }
}

TEST_CASE("merge: killed with its worker it changes nothing that the disk reads") {
  const TempDir store;
  int killed = 0;
  for (int round = 0; round < 8; ++round) {
    INFO("round ", round);
    SleepingVm vm;
    const Data before = vm.content();
    const pid_t merging = start_merge(store.path(), vm.dir(), 0);
    const pid_t worker = wait_for_child_of(merging);
    if (worker > 0 && ::kill(worker, SIGKILL) == 0) ++killed;
    const int status = wait_for(merging);
    CHECK(WIFEXITED(status));
    CHECK(vm.content() == before);
    check_merges_again(store.path(), vm, before);
  }
  CHECK(killed > 0);
}

TEST_CASE("merge: the record forgets what a layer was before that is written to") {
  const TempDir store;
  SleepingVm vm;
  REQUIRE(add_checks(vm.saved, std::nullopt, vm.dir(), CallCheck(Limits(CallLimits{}), "test")));
  REQUIRE(write_saved(vm.dir(), vm.saved));
  const std::string lowest = vm.saved.layers[0];
  const Data untouched = vm.files.read_file(lowest);
  std::vector<std::string> known;  // of the lowest, at each change of the record
  FileCalls calls(vm.dir());
  calls.before_each([&](const FileCall& call) {
    if (call.what != "sync" || call.file != ".") return;  // after a record has its name
    const auto now = read_saved(vm.dir());
    REQUIRE(now);
    known.push_back((*now)->checks[0].sha256);
    if (known.size() == 1) CHECK(vm.files.read_file(lowest) == untouched);
  });
  REQUIRE(merge(store.path(), vm.dir()));
  REQUIRE(known.size() >= 2);
  for (size_t i = 0; i < known.size(); ++i) {
    CHECK(known[i].empty() == (i % 2 == 0));  // forgotten, merged, known again
  }
  const auto last = read_saved(vm.dir());
  REQUIRE(last);
  CHECK(verify_layers(vm.dir(), **last, Limits(CallLimits{})));
}
