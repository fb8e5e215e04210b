// Damaged snapshots, builds that fail, full disks: a typed error, and nothing left behind.

#include <fstream>
#include <optional>

#include "fixture.hpp"
#include "steps_in_clone.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kCancelLimit{3};  // milliseconds of work, in a rig that is slow

// One file of the counter image, restored at the end.
class Damaged {
 public:
  explicit Damaged(const std::string& file)
      : path_(image_dir("counter", "1") / file), kept_(path_.string() + ".kept") {
    fs::rename(path_, kept_);
    REQUIRE(std::system(
                ("cp --sparse=always '" + kept_.string() + "' '" + path_.string() + "'").c_str()) ==
            0);
  }
  ~Damaged() { fs::rename(kept_, path_); }
  Damaged(const Damaged&) = delete;
  Damaged& operator=(const Damaged&) = delete;

  void truncate_to_half() { fs::resize_file(path_, fs::file_size(path_) / 2); }
  void flip_bit(uint64_t offset) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }

 private:
  fs::path path_;
  fs::path kept_;
};

void check_refused() {
  const size_t vms = entries_in(data_dir() / "vms");
  const size_t workers = count_workers();
  const auto vm = runtime().run("counter");
  REQUIRE_FALSE(vm);
  INFO(vm.error().message);
  CHECK(vm.error().code == ErrorCode::corrupt);
  CHECK(entries_in(data_dir() / "vms") == vms);
  CHECK(count_workers() == workers);
}

BuildOptions options_of(const TempDir& context, const std::string& dockerfile) {
  context.write("Dockerfile", dockerfile);
  BuildOptions options;
  options.context = context.path();
  options.tag = "failing";
  options.memory_bytes = kGuestMemory;
  options.ready_timeout = std::chrono::seconds(5);
  return options;
}

Result<ImageInfo> build(const std::string& dockerfile) {
  const TempDir context;
  return runtime().build(options_of(context, dockerfile));
}

// One that ends in a RUN.
Result<ImageInfo> build_in_clone(const std::string& dockerfile, const CallLimits& limits = {},
                                 const ProgressSink& progress = {}) {
  const TempDir context;
  BuildOptions options = options_of(context, dockerfile);
  options.progress = progress;
  return StepsInClone().build(options, limits);
}

void check_nothing_left(size_t workers) {
  CHECK(count_workers() <= workers);  // a pooled one may have been used up
  CHECK(entries_in(data_dir() / "tmp") == 0);
  CHECK(runtime().image("failing").error().code == ErrorCode::not_found);
}

}  // namespace

TEST_CASE("a truncated snapshot is refused") {
  runtime();
  for (const char* file : {"state", "memory", "app.layer", "working_set"}) {
    CAPTURE(file);
    Damaged damaged(file);
    damaged.truncate_to_half();
    check_refused();
  }
}

TEST_CASE("a flipped bit in state, layer or working set is refused") {
  runtime();
  for (const char* file : {"state", "app.layer", "working_set"}) {
    CAPTURE(file);
    Damaged damaged(file);
    damaged.flip_bit(100);
    check_refused();
  }
}

TEST_CASE("a failing RUN is reported with its output and exit code") {
  const size_t workers = count_workers();
  const auto image =
      build_in_clone("FROM debian:bookworm\nRUN echo before && exit 9\nCMD [\"true\"]\n");
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::build_failed);
  CHECK(image.error().message.find("before") != std::string::npos);
  CHECK(image.error().message.find("9") != std::string::npos);
  check_nothing_left(workers);
}

TEST_CASE("a guest that powers off during a build has failed") {
  const size_t workers = count_workers();
  const auto image = build_in_clone(
      "FROM debian:bookworm\nRUN echo o > /proc/sysrq-trigger; sleep 60\nCMD [\"true\"]\n");
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::guest_failed);
  check_nothing_left(workers);
}

TEST_CASE("an app that never listens fails the build with what it printed") {
  const size_t workers = count_workers();
  const auto image = build(
      "FROM debian:bookworm\nEXPOSE 9\nCMD [\"sh\", \"-c\", \"echo not today; sleep 600\"]\n");
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::build_failed);
  CHECK(image.error().message.find("not today") != std::string::npos);
  check_nothing_left(workers);
}

TEST_CASE("a build can be cancelled") {
  const size_t workers = count_workers();
  CancelToken token;
  std::chrono::steady_clock::time_point cancelled_at;
  const auto cancel_at_output = [&](const Progress& progress) {
    if (progress.output.find("hanging") == std::string::npos) return;
    cancelled_at = std::chrono::steady_clock::now();
    token.cancel();
  };
  const auto image =
      build_in_clone("FROM debian:bookworm\nRUN echo hanging; sleep 600\nCMD [\"true\"]\n",
                     {.cancel = &token, .timeout = {}}, cancel_at_output);
  REQUIRE_FALSE(image);
  CHECK(image.error().code == ErrorCode::cancelled);
  CHECK(std::chrono::steady_clock::now() - cancelled_at < kCancelLimit);
  check_nothing_left(workers);
}

TEST_CASE("a RUN that hangs ends with the build's time limit and says what it printed last") {
  const size_t workers = count_workers();
  // Counted from the beginning of the build, of which the guest's start and the first RUN are a
  // part.
  constexpr std::chrono::seconds kLimit{25};
  std::optional<Result<ImageInfo>> image;
  const double seconds = seconds_of([&] {
    image = build_in_clone(
        "FROM debian:bookworm\nRUN echo first; sleep 8\nRUN echo hanging; sleep 600\n"
        "CMD [\"true\"]\n",
        {.cancel = nullptr, .timeout = kLimit});
  });
  REQUIRE_FALSE(*image);
  INFO(image->error().message);
  CHECK(image->error().code == ErrorCode::deadline_exceeded);
  CHECK(image->error().message.find("Dockerfile:3: RUN echo hanging") != std::string::npos);
  CHECK(image->error().message.find("last output:\nhanging") != std::string::npos);
  CHECK(seconds < static_cast<double>(kLimit.count()) + 5);
  check_nothing_left(workers);
}

TEST_CASE("an image without a program to warm up with is built all the same") {
  const auto image = build("FROM debian:bookworm\nENV PATH=/app\nCMD [\"/bin/sleep\", \"inf\"]\n");
  REQUIRE_MESSAGE(image, why(image));
  CHECK(fs::file_size(image_dir("failing", image->version) / "working_set") > 0);
  auto vm = runtime().run("failing");
  REQUIRE_MESSAGE(vm, why(vm));
  CHECK(vm->terminate());
  CHECK(runtime().remove_image("failing"));
}

TEST_CASE("a guest that rings the doorbell and fills its logs without end keeps its owner") {
  RunningVm vm = run_counter();
  const std::string flood = R"(python3 -c '
import socket, time
end = time.monotonic() + 5
rung = 0
while time.monotonic() < end:
    for port in (1024, 1026, 1099):
        s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            s.connect((2, port))
            s.send(b"x" * 4000)
            rung += 1
        except OSError:
            pass
        s.close()
    open("/dev/kmsg", "w").write("flood\n")
print(rung)
')";
  const int rung = std::stoi(shell(vm, flood));
  MESSAGE("connections of the flood: ", rung);
  CHECK(rung > 100);
  CHECK(shell(vm, "echo still here") == "still here\n");
  CHECK(vm.info()->state == VmState::running);
}

TEST_CASE("packing and unpacking give the image back") {
  const auto packed = runtime().pack_image("counter");
  REQUIRE_MESSAGE(packed, why(packed));
  const auto refused = runtime().run("counter");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("unpack") != std::string::npos);
  const auto unpacked = runtime().unpack_image("counter");
  REQUIRE_MESSAGE(unpacked, why(unpacked));
  CHECK(fs::file_size(image_dir("counter", "1") / "working_set") > 0);
  RunningVm vm = run_counter();
  CHECK(shell(vm, "echo back") == "back\n");
}
