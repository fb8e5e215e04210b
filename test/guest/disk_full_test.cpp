// A host disk that runs full during a build. Needs to mount a small tmpfs: skipped without root.
#include <sys/mount.h>
#include <unistd.h>

#include <optional>

#include "fixture.hpp"

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

 private:
  TempDir dir_;
  bool mounted_ = false;
};

uint64_t allocated_bytes(const fs::path& dir) {
  uint64_t total = 0;
  const std::string command = "du -sk '" + dir.string() + "' | cut -f1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe != nullptr && std::fscanf(pipe, "%lu", &total) == 1) total *= 1024;
  if (pipe != nullptr) ::pclose(pipe);
  return total;
}

// A data directory with what a build needs, on a disk with so much more room.
class SmallStore {
 public:
  explicit SmallStore(uint64_t free_bytes)
      : disk_(std::to_string(allocated_bytes(data_dir() / "kernels") +
                             allocated_bytes(data_dir() / "bases") +
                             allocated_bytes(data_dir() / "images") + free_bytes)) {
    if (!disk_.mounted()) return;
    copy_store(disk_.path(), {"kernels", "bases", "base-names", "images"});
    RuntimeOptions options;
    options.data_dir = disk_.path();
    auto opened = Runtime::open(options);
    REQUIRE_MESSAGE(opened, why(opened));
    runtime_.emplace(std::move(*opened));
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

}  // namespace

TEST_CASE("a disk that runs full during the snapshot fails the build and leaves nothing") {
  SmallStore small(24u << 20);
  if (!small.mounted()) {
    MESSAGE("skipped: mounting a small disk needs root");
    return;
  }
  BuildOptions build;
  build.context = MICROVM_COUNTER_APP;
  build.tag = "failing";
  build.memory_bytes = kGuestMemory;
  const auto image = small.runtime().build(build);
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::out_of_disk);
  small.check_only_counter_is_left();
}

// The program succeeds: it wrote to the guest's page cache, or takes no notice.
TEST_CASE("a RUN that fills the host's disk fails the build, whatever its exit code") {
  SmallStore small(24u << 20);
  if (!small.mounted()) {
    MESSAGE("skipped: mounting a small disk needs root");
    return;
  }
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
