// A merge of layers whose embedder or worker is killed at any point: the disk reads as before, and
// the next merge ends what this one began.
#include "host/worker/merge_layers.hpp"

#include "host/vm/core.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "host/saved/vm_files.hpp"
#include "vmm/disk/disk_files.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
namespace fs = std::filesystem;

namespace {

constexpr size_t kDisk = 4u << 20;
constexpr size_t kLayers = kMaxSavedLayers + 1;
constexpr int kPoints = 50;  // for each of the two

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
  const auto core = Core::open(options);
  if (!core) return base::fail(core.error());
  auto saved = read_saved(dir);
  if (!saved) return base::fail(saved.error());
  return merge_saved_layers(*(*core)->spawner, dir, **saved, Limits(CallLimits{}));
}

pid_t start_merge(const fs::path& store, const fs::path& dir) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(merge(store, dir) ? 0 : 1);
  return pid;
}

// The worker that its first thread has right now, or 0.
pid_t child_of(pid_t parent) {
  const std::string process = std::to_string(parent);
  pid_t child = 0;
  std::ifstream("/proc/" + process + "/task/" + process + "/children") >> child;
  return child;
}

}  // namespace

TEST_CASE("a merge killed at a hundred points changes nothing that the disk reads") {
  const TempDir store;
  std::chrono::steady_clock::duration whole{};
  {
    SleepingVm vm;
    const Data before = vm.content();
    const auto began = std::chrono::steady_clock::now();
    const pid_t merging = start_merge(store.path(), vm.dir());
    int status = -1;
    REQUIRE(::waitpid(merging, &status, 0) == merging);
    whole = std::chrono::steady_clock::now() - began;
    REQUIRE(status == 0);
    size_t layers = 0;
    CHECK(vm.content(&layers) == before);
    CHECK(layers == 2);
  }
  int cut = 0;
  int workers_killed = 0;
  for (int round = 0; round < 2 * kPoints; ++round) {
    INFO("round ", round);
    SleepingVm vm;
    const Data before = vm.content();
    const pid_t merging = start_merge(store.path(), vm.dir());
    std::this_thread::sleep_for(whole * round / (2 * kPoints));
    const pid_t victim = round % 2 == 0 ? merging : child_of(merging);
    if (victim > 0) ::kill(victim, SIGKILL);
    if (victim > 0 && victim != merging) ++workers_killed;
    int status = -1;
    REQUIRE(::waitpid(merging, &status, 0) == merging);
    size_t layers = 0;
    CHECK(vm.content(&layers) == before);
    if (layers > 2) ++cut;
    const auto again = merge(store.path(), vm.dir());
    REQUIRE_MESSAGE(again, (again ? "" : again.error().message));
    CHECK(vm.content() == before);
  }
  MESSAGE(cut << " merges were cut short, " << workers_killed << " by their worker's end");
  CHECK(cut > 0);
  CHECK(workers_killed > 0);
}
