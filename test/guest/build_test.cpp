// Builds that go through: what a RUN leaves to the next one, and images without an app.
#include "fixture.hpp"
#include "steps_in_clone.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

BuildOptions options_of(const TempDir& context, const std::string& dockerfile) {
  context.write("Dockerfile", dockerfile);
  BuildOptions options;
  options.context = context.path();
  options.tag = "sandbox";
  options.memory_bytes = kGuestMemory;
  return options;
}

struct Built {
  Result<ImageInfo> image;
  std::string notices;
};

Built build(const std::string& dockerfile) {
  const TempDir context;
  Built built;
  BuildOptions options = options_of(context, dockerfile);
  options.progress = [&](const Progress& progress) {
    if (progress.step.starts_with("notice: ")) built.notices += progress.step + "\n";
  };
  built.image = runtime().build(options);
  return built;
}

// It has nothing of its own that would keep it alive.
void check_lives_on(const std::string& image) {
  RunOptions detached;
  detached.dies_with_owner = false;
  auto started = runtime().run(image, detached);
  REQUIRE_MESSAGE(started, why(started));
  RunningVm vm(std::move(*started));
  CHECK(shell(vm, "echo $((6 * 7)); touch /mark") == "42\n");
  std::this_thread::sleep_for(std::chrono::seconds(2));
  suspend(vm);
  REQUIRE(vm.resume());
  CHECK(shell(vm, "test -e /mark && echo still here") == "still here\n");
  CHECK(vm.info()->state == VmState::running);
}

}  // namespace

TEST_CASE("a server that a RUN leaves in the background is gone for the next RUN") {
  const TempDir context;
  const std::string serve = "python3 -m http.server 7000 >/dev/null 2>&1";
  const std::string dockerfile =
      "FROM debian:bookworm\n"
      "RUN " +
      serve + " & (setsid sh -c '" + serve +
      "; sleep 900' &) ; "
      "for i in $(seq 100); do python3 -c 'import socket; "
      "socket.create_connection((\"127.0.0.1\", 7000))' 2>/dev/null && exit 0; sleep 0.2; done; "
      "exit 41\n"
      // It fails with a code of its own: a build in a clone ends in its steps.
      "RUN python3 -c 'import socket; s = socket.socket(); s.bind((\"0.0.0.0\", 7000))' "
      "&& exit 42 || exit 43\n";
  const auto image = StepsInClone().build(options_of(context, dockerfile), {});
  REQUIRE_FALSE(image);
  INFO(image.error().message);
  CHECK(image.error().code == ErrorCode::build_failed);
  CHECK(has(image.error().message, "exit code 42"));
}

TEST_CASE("a command that ends at once with success makes an image without an app") {
  const Built built = build("FROM debian:bookworm\nCMD [\"bash\"]\n");
  REQUIRE_MESSAGE(built.image, why(built.image));
  CHECK_FALSE(built.image->has_app);
  CHECK(has(built.notices, "the command \"bash\" has ended with exit code 0"));
  check_lives_on("sandbox");
}

TEST_CASE("an image may have no command") {
  const Built built = build("FROM debian:bookworm\n");
  REQUIRE_MESSAGE(built.image, why(built.image));
  CHECK_FALSE(built.image->has_app);
  CHECK(built.notices.empty());
  check_lives_on("sandbox");
}

TEST_CASE("a command that ends at once with a failure fails the build with what it said") {
  const Built built =
      build("FROM debian:bookworm\nCMD [\"sh\", \"-c\", \"echo no such table; exit 3\"]\n");
  REQUIRE_FALSE(built.image);
  INFO(built.image.error().message);
  CHECK(built.image.error().code == ErrorCode::build_failed);
  CHECK(has(built.image.error().message, "exit code 3"));
  CHECK(has(built.image.error().message, "no such table"));
}
