// What older versions left on disk (test/golden), read without starting anything.
#include "golden/golden_data.hpp"

#include <array>

#include "host/image/pack_image.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/saved/saved_pages.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/event_log.hpp"
#include "host/store/files.hpp"
#include "host/store/image_files.hpp"
#include "state/working_set.hpp"
#include "sys/file.hpp"
#include "sys/loop.hpp"
#include "vmm/disk/disk_stack.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::GoldenData;

namespace {

constexpr uint64_t kMemoryBytes = 8 << 20;
constexpr uint64_t kCounterAddress = 0x400000;
constexpr size_t kDiskBytes = 256 << 10;

template <class T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().message));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

uint64_t counter_of(const base::Fd& memory) {
  uint64_t count = 0;
  REQUIRE(::pread(memory.get(), &count, sizeof count, kCounterAddress) == sizeof count);
  return count;
}

// The disk of these layers, base first.
std::string disk_of(const ImageFiles& image, const std::filesystem::path& dir,
                    const std::vector<std::string>& names) {
  auto loop = must(sys::Loop::create());
  std::vector<base::Fd> fds;
  for (const base::Fd& layer : image.layers) {
    fds.push_back(must(sys::duplicate(layer.get(), "layer")));
  }
  for (const std::string& name : names) fds.push_back(must(open_file(dir / name, O_RDONLY)));
  auto disk = must(vmm::DiskStack::open(*loop, std::move(fds), {.read_only = true}));
  std::string content(kDiskBytes, '\0');
  const iovec in{content.data(), content.size()};
  bool open = true;
  disk->read({&in, 1}, 0, [&open](int error) {
    CHECK(error == 0);
    open = false;
  });
  while (open) loop->run_once(std::chrono::milliseconds(50));
  return content;
}

void check_image(const ImageInfo& info) {
  CHECK(info.name == "counter");
  CHECK(info.base == "tiny:1");
  CHECK(info.kernel == "0.0.1-tiny-amd64");
  CHECK(info.memory_bytes == kMemoryBytes);
  CHECK(info.vcpus == 1);
  CHECK(info.boot_ms == 7);
  CHECK(info.config.entrypoint == std::vector<std::string>{"/usr/bin/count"});
  CHECK(info.config.cmd == std::vector<std::string>{"--from", "0"});
  CHECK(info.config.env[1] == "GREETING=hello w\xc3\xb6rld");
  CHECK(info.config.workdir == "/srv");
  CHECK(info.config.user == "nobody");
  CHECK(info.config.exposed_ports == std::vector<uint16_t>{8080, 9090});
  CHECK(info.config.labels.at("maker") == "golden");
  CHECK(info.config.stop_signal == "SIGINT");
  CHECK(info.config.hooks.port == 9000);
  CHECK(info.config.hooks.suspend == std::chrono::seconds(2));
  CHECK(info.config.hooks.resume == std::chrono::seconds(0));
}

}  // namespace

TEST_CASE("golden v1: kernel, base and images are listed whole") {
  const GoldenData data("v1");
  const auto store = data.store();
  const auto kernels = must(store.kernels());
  REQUIRE(kernels.items.size() == 1);
  CHECK(kernels.damaged.empty());
  CHECK(kernels.items[0].modules.size() == 1);
  const auto bases = must(store.bases());
  REQUIRE(bases.items.size() == 1);
  CHECK(bases.damaged.empty());
  CHECK(bases.items[0].info.name == "tiny:1");
  const auto images = must(store.images());
  CHECK(images.damaged.empty());
  REQUIRE(images.items.size() == 2);
  for (const ImageManifest& image : images.items) check_image(image.info);
  CHECK(images.items[0].form == ImageForm::raw);
  CHECK(images.items[1].form == ImageForm::packed);
  CHECK(images.items[1].memory_raw_bytes == kMemoryBytes);
  CHECK(images.items[0].ready_port == 8080);
  CHECK(images.items[0].kernel_cmdline == "quiet");
}

TEST_CASE("golden v1: every file of an image is what its manifest says, in both forms") {
  const GoldenData data("v1");
  const auto store = data.store();
  must(unpack_image(store, "counter:2", {}, {}));
  constexpr std::array<uint64_t, 2> kCounts = {100, 105};
  for (size_t i = 0; i < kCounts.size(); ++i) {
    const auto files =
        must(open_image_files(store, "counter:" + std::to_string(i + 1), Limits({})));
    CHECK(counter_of(files.memory) == kCounts.at(i));
    const std::string disk = disk_of(files, {}, {});
    CHECK(disk[0] == 'b');
    CHECK(disk[4096] == 's');
    CHECK(disk[8192] == 'a');
    CHECK(disk[12288] == 'b');
    const auto size = must(sys::file_size(files.working_set.get()));
    wire::Bytes bytes(size);
    must(sys::pread_full(files.working_set.get(), bytes, 0));
    CHECK_FALSE(must(state::parse_working_set(bytes, kMemoryBytes)).written.empty());
  }
}

TEST_CASE("golden v1: the sleeping vm is found by name, with its pages and its disk") {
  const GoldenData data("v1");
  const auto store = data.store();
  const std::string id = must(resolve_vm(store, "sleeper"));
  const auto info = describe_vm(store, id);
  REQUIRE(info);
  CHECK(info->state == VmState::suspended);
  CHECK(info->image == "counter:1");
  const auto dir = store.vm_dir(id);
  const auto record = must(read_record(dir));
  CHECK(record.hostname == "sleeper");
  CHECK_FALSE(record.dies_with_owner);
  CHECK(record.idle.idle_after == std::chrono::seconds(30));
  CHECK(record.idle.lifetime_counts_sleep);
  CHECK(record.idle.cpu_threshold == doctest::Approx(0.02));
  CHECK_FALSE(record.idle.auto_resume);
  CHECK(must(read_run(dir)).pages_known);
  const auto saved = must(read_saved(dir));
  REQUIRE(saved);
  CHECK(saved->layers.size() == 3);
  CHECK(saved->pages.size() == 2);
  must(verify_layers(dir, *saved, Limits({})));
  CHECK(counter_of(must(expand_pages(dir, *saved, kMemoryBytes))) == 488);
  const auto image = must(open_image_files(store, record.image, Limits({})));
  const std::string disk = disk_of(image, dir, saved->layers);
  CHECK(disk[8192] == 'a');
  CHECK(disk[12288] == 'v');
}

TEST_CASE("golden v1: the vm that was terminated is told of, and the events are") {
  const GoldenData data("v1");
  const auto store = data.store();
  const std::string sleeper = must(resolve_vm(store, "sleeper"));
  size_t ended = 0;
  for (const std::string& id : must(store.vm_ids())) {
    if (id == sleeper) continue;
    const auto info = describe_vm(store, id);
    REQUIRE(info);
    CHECK(info->state == VmState::terminated);
    CHECK(info->end == VmEnd::terminated);
    ++ended;
  }
  CHECK(ended == 1);
  size_t events = 0;
  auto reader = must(EventReader::open(data.dir(), false));
  while (const auto event = must(reader.next()).event) {
    CHECK(event->kind == VmEvent::Kind::started);
    CHECK(event->took_us == 12345);
    ++events;
  }
  CHECK(events == 2);
}

TEST_CASE("golden v1: the checkpoint is found by name, and becomes an image") {
  const GoldenData data("v1");
  const auto store = data.store();
  const auto checkpoint = must(open_checkpoint(store, "halfway"));
  CHECK(checkpoint.info.vm_id == must(resolve_vm(store, "sleeper")));
  must(verify_layers(checkpoint.dir, checkpoint.saved, Limits({})));
  CHECK(counter_of(must(expand_pages(checkpoint.dir, checkpoint.saved, kMemoryBytes))) == 204);
  // The number of the version that was removed is not given again.
  const auto info = must(commit_image_of(store, checkpoint, "counter", {}));
  CHECK(info.version == "4");
  const auto image = must(open_image_files(store, "counter:4", Limits({})));
  CHECK(counter_of(image.memory) == 204);
  CHECK(disk_of(image, {}, {})[12288] == 'v');
}
