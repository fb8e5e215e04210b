// A host disk that runs full, during a build, a suspend, a resume. Needs to mount a small tmpfs:
// skipped without root.
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>

#include "fixture.hpp"
#include "suite/skip.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

namespace fs = std::filesystem;

class SmallDisk {
 public:
  explicit SmallDisk(const std::string& size) {
    mounted_ = ::mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] const fs::path& path() const { return dir_.path(); }
  // From now on it has so much more room than what is on it takes.
  void leave_free(uint64_t bytes) const {
    struct statvfs now{};
    REQUIRE(::statvfs(path().c_str(), &now) == 0);
    const uint64_t used = (now.f_blocks - now.f_bfree) * now.f_frsize;
    const std::string size = "size=" + std::to_string(used + bytes);
    REQUIRE(::mount("tmpfs", path().c_str(), "tmpfs", MS_REMOUNT, size.c_str()) == 0);
  }
  void fill() const {
    std::ofstream filler(path() / "filler");
    const std::string piece(4096, 'x');
    while (filler.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush()) {
    }
  }
  void make_room() const { fs::remove(path() / "filler"); }
  void make_room(uint64_t bytes) const {
    fs::resize_file(path() / "filler", fs::file_size(path() / "filler") - bytes);
  }

 private:
  TempDir dir_;
  bool mounted_ = false;
};

// A directory seen at another place as well.
class BindMount {
 public:
  BindMount(const fs::path& from, fs::path to) : to_(std::move(to)) {
    fs::create_directory(to_);
    REQUIRE(::mount(from.c_str(), to_.c_str(), nullptr, MS_BIND, nullptr) == 0);
  }
  ~BindMount() { ::umount2(to_.c_str(), MNT_DETACH); }
  BindMount(const BindMount&) = delete;
  BindMount& operator=(const BindMount&) = delete;

 private:
  fs::path to_;
};

Runtime open_runtime(const fs::path& data_directory) {
  RuntimeOptions options;
  options.data_dir = data_directory;
  auto opened = Runtime::open(options);
  REQUIRE_MESSAGE(opened, why(opened));
  return std::move(*opened);
}

// A data directory with what a build needs, on a disk with so much more room.
class SmallStore {
 public:
  explicit SmallStore(uint64_t free_bytes) : disk_("2G") {
    if (!disk_.mounted()) return;
    copy_store(disk_.path(), {"kernels", "bases", "base-names", "images"});
    disk_.leave_free(free_bytes);
    runtime_.emplace(open_runtime(disk_.path()));
  }
  [[nodiscard]] bool mounted() const { return disk_.mounted(); }
  [[nodiscard]] Runtime& runtime() { return *runtime_; }
  void check_only_counter_is_left() {
    CHECK(runtime_->images()->size() == 1);
    CHECK(entries_in(disk_.path() / "tmp") == 0);
    CHECK(entries_in(disk_.path() / "vms") == 0);
  }

 private:
  SmallDisk disk_;
  std::optional<Runtime> runtime_;
};

// A Vm whose own files, and nothing else, are on a small disk: a hole of a mapped image takes room
// of its own when it is read, where the disk is a tmpfs.
class VmOnSmallDisk {
 public:
  VmOnSmallDisk() : disk_("64M") {
    if (!disk_.mounted()) return;
    for (const char* name : {"images", "kernels", "bases"}) {
      shared_.push_back(std::make_unique<BindMount>(data_dir() / name, disk_.path() / name));
    }
    runtime_.emplace(open_runtime(disk_.path()));
    auto started = runtime_->run("counter");
    REQUIRE_MESSAGE(started, why(started));
    vm_.emplace(std::move(*started));
  }
  [[nodiscard]] bool mounted() const { return disk_.mounted(); }
  [[nodiscard]] const SmallDisk& disk() const { return disk_; }
  [[nodiscard]] RunningVm& operator*() { return *vm_; }
  [[nodiscard]] RunningVm* operator->() { return &*vm_; }

 private:
  const SmallDisk disk_;
  std::vector<std::unique_ptr<BindMount>> shared_;
  std::optional<Runtime> runtime_;
  std::optional<RunningVm> vm_;
};

}  // namespace

TEST_CASE("a disk that runs full during the snapshot fails the build and leaves nothing") {
  SmallStore small(24u << 20);
  if (!small.mounted()) SKIP_CASE("needs root: to mount a small disk");
  BuildOptions build;
  const TempDir context;
  context.write("Dockerfile", "FROM debian:bookworm\nCMD [\"sleep\", \"infinity\"]\n");
  build.context = context.path();
  build.tag = "failing";
  build.memory_bytes = kGuestMemory;
  std::string last_step;
  build.progress = [&](const Progress& progress) { last_step = progress.step; };
  const auto image = small.runtime().build(build);
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::out_of_disk);
  CHECK(last_step == "snapshot");
  small.check_only_counter_is_left();
}

// The program succeeds: it wrote to the guest's page cache, or takes no notice.
TEST_CASE("a RUN that fills the host's disk fails the build, whatever its exit code") {
  SmallStore small(24u << 20);
  if (!small.mounted()) SKIP_CASE("needs root: to mount a small disk");
  const TempDir context;
  context.write("Dockerfile",
                "FROM debian:bookworm\n"
                "RUN echo filling; dd if=/dev/zero of=/big bs=1M count=48; sync; true\n"
                "CMD [\"true\"]\n");
  BuildOptions build;
  build.context = context.path();
  build.tag = "failing";
  build.memory_bytes = kGuestMemory;
  const auto image = small.runtime().build(build);
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::out_of_disk);
  CHECK(image.error().message.find("No space left on device") != std::string::npos);
  CHECK(image.error().message.find("Dockerfile:2: RUN echo filling") != std::string::npos);
  small.check_only_counter_is_left();
  auto vm = small.runtime().run("counter");
  REQUIRE_MESSAGE(vm, why(vm));
  RunningVm running(std::move(*vm));
  CHECK(shell(running, "echo still here") == "still here\n");
}

TEST_CASE("onto a full disk a vm is not suspended but runs on, and from one it is not resumed") {
  VmOnSmallDisk vm;
  if (!vm.mounted()) SKIP_CASE("needs root: to mount a small disk");
  shell(*vm,
        "head -c 8000000 /dev/urandom > /dev/shm/large; sha256sum /dev/shm/large > /dev/shm/sum");
  const auto is_whole = [&] {
    return shell(*vm, "sha256sum -c /dev/shm/sum") == "/dev/shm/large: OK\n";
  };

  // With room for the files of a suspend, but not for the pages.
  vm.disk().fill();
  vm.disk().make_room(1 << 20);
  const auto layers = [&] {
    std::ifstream file(vm.disk().path() / "vms" / vm->id() / "run.json");
    const std::string run(std::istreambuf_iterator<char>(file), {});
    size_t count = 0;
    for (size_t at = 0; (at = run.find(".layer", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto slept = vm->suspend();
    REQUIRE_FALSE(slept);
    INFO(slept.error().message);
    CHECK(slept.error().code == ErrorCode::out_of_disk);
    CHECK(vm->info()->state == VmState::running);
    CHECK(is_whole());
    CHECK(layers() <= 2);  // a disk takes a limited number of them
  }

  vm.disk().make_room();
  const auto again = vm->suspend();
  REQUIRE_MESSAGE(again, why(again));
  vm.disk().fill();
  const auto resumed = vm->resume();
  REQUIRE_FALSE(resumed);
  INFO(resumed.error().message);
  CHECK(resumed.error().code == ErrorCode::out_of_disk);
  CHECK(vm->info()->state == VmState::suspended);
  vm.disk().make_room();
  CHECK(is_whole());
}

TEST_CASE("a guest that writes onto a full disk waits for room, and has lost nothing") {
  VmOnSmallDisk vm;
  if (!vm.mounted()) SKIP_CASE("needs root: to mount a small disk");
  vm.disk().fill();
  auto writing = vm->exec({.argv = {"/bin/sh", "-c",
                                    "head -c 3000000 /dev/zero | tr '\\0' x > /root/large; "
                                    "sync && sha256sum /root/large && touch /root/after"}});
  REQUIRE_MESSAGE(writing, why(writing));
  const auto says = [&](const std::string& what) {
    for (int i = 0; i < 600; ++i) {
      if (vm->logs(LogSource::kernel)->find(what) != std::string::npos) return true;
      ::usleep(100'000);
    }
    return false;
  };
  REQUIRE(says("the host's disk is full; the guest waits for room"));
  const auto slept = vm->suspend();
  REQUIRE_FALSE(slept);
  CHECK(slept.error().code == ErrorCode::out_of_disk);
  // Its files are made before the guest is stopped for it.
  const auto kept = vm->checkpoint({"full"});
  REQUIRE_FALSE(kept);
  CHECK(kept.error().code == ErrorCode::out_of_disk);
  CHECK(shell(*vm, "echo runs on") == "runs on\n");

  vm.disk().make_room();
  const auto status = writing->wait();
  REQUIRE_MESSAGE(status, why(status));
  CHECK(status->code == 0);
  CHECK(says("there is room again"));
  const auto again = vm->suspend();
  REQUIRE_MESSAGE(again, why(again));
  CHECK(shell(*vm, "tr -d x < /root/large | wc -c; wc -c < /root/large; ls /root/after") ==
        "0\n3000000\n/root/after\n");
}
