// What an idle guest with an app costs at rest: the whole memory snapshot of its image, packed, and
// the pages of one suspended microVM, against its RAM and against what in it is not zero.
//   snapshot_size DATA_DIRECTORY IMAGE
#include <filesystem>

#include "microvm/runtime.hpp"
#include "report.hpp"

namespace {

using bench::need;

uint64_t image_file_bytes(const std::filesystem::path& data, const microvm::ImageInfo& image,
                          const char* file) {
  return std::filesystem::file_size(data / "images" / image.name / image.version / file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) bench::fail("usage: snapshot_size DATA_DIRECTORY IMAGE");
  microvm::RuntimeOptions options;
  options.data_dir = argv[1];
  auto runtime = need(microvm::Runtime::open(options));
  const auto image = need(runtime.image(argv[2]));
  uint64_t changed = 0;
  uint64_t stored = 0;
  {
    auto vm = need(runtime.run(argv[2]));
    microvm::ExecOptions command;
    command.argv = {"sleep", "5"};
    need(vm.exec_collect(command));
    const auto times = need(vm.suspend());
    changed = times.changed_bytes;
    stored = times.stored_bytes;
    need(vm.terminate());
  }
  const std::string reference = image.name + ":" + image.version;
  need(runtime.pack_image(reference));
  const uint64_t packed = image_file_bytes(argv[1], image, "memory.zst");
  need(runtime.unpack_image(reference));
  const auto ratio = [&](uint64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(packed);
  };
  bench::print_report("snapshot_size", {{"ram_bytes", image.memory_bytes},
                                        {"not_zero_bytes", image.memory_data_bytes},
                                        {"at_rest_bytes", packed},
                                        {"ram_to_at_rest", ratio(image.memory_bytes)},
                                        {"not_zero_to_at_rest", ratio(image.memory_data_bytes)},
                                        {"suspended_changed_bytes", changed},
                                        {"suspended_stored_bytes", stored}});
  return 0;
}
