// The cold boot of an image's build: power-on until the agent is ready, and the whole build.
//   boot DATA_DIRECTORY CONTEXT MEMORY_MIB BUILDS
#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

constexpr char kTag[] = "bench-boot";

microvm::ImageInfo build(microvm::Runtime& runtime, const char* context, uint32_t memory_mib) {
  microvm::BuildOptions options;
  options.context = context;
  options.tag = kTag;
  options.memory_bytes = uint64_t{memory_mib} << 20;
  return need(runtime.build(options));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) bench::fail("usage: boot DATA_DIRECTORY CONTEXT MEMORY_MIB BUILDS");
  const uint32_t memory_mib = bench::positive_number(argv[3]);
  const uint32_t builds = bench::positive_number(argv[4]);
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  bench::Series boot_ms, build_ms;
  for (uint32_t number = 1; number <= builds; ++number) {
    bench::say("boot: build " + std::to_string(number) + " of " + std::to_string(builds));
    const auto start = bench::Clock::now();
    const auto image = build(runtime, argv[2], memory_mib);
    build_ms.add(bench::ms_since(start));
    boot_ms.add(static_cast<double>(image.boot_ms));
    bench::say("boot: the guest took " + std::to_string(image.boot_ms) + " ms");
    need(runtime.remove_image(image.name + ":" + image.version));
  }
  bench::print_report("boot", {{"guest_memory_mib", memory_mib},
                               {"n", builds},
                               {"cold_boot_ms", boot_ms.json()},
                               {"build_ms", build_ms.json()}});
  return 0;
}
