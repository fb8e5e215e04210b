// The older of the two supported kernels: other payload, other modules, no generation id.
#include <cstdlib>

#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

TEST_CASE("a 6.1 kernel boots with two vcpus, and a clone of it runs programs") {
  const char* deb = std::getenv("MICROVM_TEST_KERNEL_DEB_61");
  REQUIRE_MESSAGE(deb != nullptr, "MICROVM_TEST_KERNEL_DEB_61 is not set; test/run sets it");
  // In a data directory of its own: the newest import is what other builds take.
  const TempDir dir;
  std::filesystem::create_directory(dir.path() / "data");
  copy_store(dir.path() / "data", {"bases", "base-names"});
  RuntimeOptions options;
  options.data_dir = dir.path() / "data";
  auto opened = Runtime::open(options);
  REQUIRE_MESSAGE(opened, why(opened));
  const auto kernel = opened->import_kernel(deb);
  REQUIRE_MESSAGE(kernel, why(kernel));
  CHECK(kernel->name.starts_with("6.1."));

  const TempDir context;
  context.write("Dockerfile", "FROM debian:bookworm\nCMD [\"sleep\", \"infinity\"]\n");
  BuildOptions build;
  build.context = context.path();
  build.tag = "old";
  build.memory_bytes = 128u << 20;
  build.vcpus = 2;
  const auto image = opened->build(build);
  REQUIRE_MESSAGE(image, why(image));
  auto vm = opened->run("old");
  REQUIRE_MESSAGE(vm, why(vm));
  RunningVm clone(std::move(*vm));
  CHECK(shell(clone, "uname -r") == kernel->name + "\n");
  CHECK(shell(clone, "nproc") == "2\n");
  CHECK(has(shell(clone, "cat /proc/interrupts"), "PCI-MSI"));  // by modules of the initramfs
  CHECK(shell(clone, "hostname") == clone.id() + "\n");
}
