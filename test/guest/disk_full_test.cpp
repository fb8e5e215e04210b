// A host disk that runs full during a build. Needs to mount a small tmpfs: skipped without root.
#include <sys/mount.h>
#include <unistd.h>

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

}  // namespace

TEST_CASE("a disk that runs full during the snapshot fails the build and leaves nothing") {
  const uint64_t store =
      allocated_bytes(data_dir() / "kernels") + allocated_bytes(data_dir() / "bases");
  SmallDisk disk(std::to_string(store + (24u << 20)));
  if (!disk.mounted()) {
    MESSAGE("skipped: mounting a small disk needs root");
    return;
  }
  REQUIRE(std::system(("cp -a --sparse=always '" + (data_dir() / "kernels").string() + "' '" +
                       (data_dir() / "bases").string() + "' '" +
                       (data_dir() / "base-names").string() + "' '" + disk.path().string() + "'")
                          .c_str()) == 0);
  RuntimeOptions options;
  options.data_dir = disk.path();
  auto small = Runtime::open(options);
  REQUIRE_MESSAGE(small, why(small));
  BuildOptions build;
  build.context = MICROVM_COUNTER_APP;
  build.tag = "counter";
  build.memory_bytes = kGuestMemory;
  const auto image = small->build(build);
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::out_of_disk);
  CHECK(small->images()->empty());
  for (const auto& left : fs::directory_iterator(disk.path() / "tmp")) {
    CHECK(left.path().filename().string().starts_with('.'));  // the store's own lock
  }
}
