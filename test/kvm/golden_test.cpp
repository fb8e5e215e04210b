// Snapshots that older versions made (test/golden), started by today's worker: their guests go on
// with their count.
#include "golden/golden_data.hpp"

#include "captured.hpp"
#include "host/image/pack_image.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/saved/saved_pages.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/files.hpp"
#include "host/store/image_files.hpp"
#include "state/sections.hpp"
#include "unit/vmm/virtio/mock_driver.hpp"
#include "vmm/arch/x86_64/layout.hpp"
#include "vmm/virtio/pci_registers.hpp"
#include "vmm/virtio/rng.hpp"
#include "vmm/virtio/vsock/vsock.hpp"

using namespace microvm;
using namespace microvm::vmm::test;
using microvm::test::GoldenData;

namespace {

constexpr TinyShape kShape{.memory_bytes = 8 << 20, .vcpus = 1, .disks = 1};
constexpr TinyShape kPciShape{
    .memory_bytes = 8 << 20, .vcpus = 1, .disks = 1, .transport = wire::TransportKind::pci};

template <class T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().message));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// What stands above an image.
struct Above {
  std::vector<base::Fd> layers;
  base::Fd pages;
  base::Fd state;
};

Above open_above(const std::filesystem::path& dir, const host::SavedState& saved) {
  Above above;
  must(host::verify_layers(dir, saved, host::Limits({})));
  for (const std::string& name : saved.layers) {
    above.layers.push_back(must(host::open_file(dir / name, O_RDONLY)));
  }
  above.pages = must(host::expand_pages(dir, saved, kShape.memory_bytes));
  above.state = must(host::open_file(dir / saved.state, O_RDONLY));
  return above;
}

// With the image's working set where the library would give it.
wire::Message start(WorkerProcess& worker, const host::ImageFiles& image, const Above& above,
                    const base::Fd& own_layer, const TinyShape& shape) {
  const auto& vm = worker.files();
  std::vector<int> fds = {image.memory.get(),  above.state ? above.state.get() : image.state.get(),
                          vm.listener.get(),   vm.exit_record.get(),
                          vm.kernel_log.get(), vm.app_log.get()};
  if (above.pages) fds.push_back(above.pages.get());
  for (const base::Fd& layer : image.layers) fds.push_back(layer.get());
  for (const base::Fd& layer : above.layers) fds.push_back(layer.get());
  fds.push_back(own_layer.get());
  wire::RestoreRequest request;
  request.attachment = {"golden", true};
  request.disks.resize(1);
  request.disks[0].layers = static_cast<uint16_t>(image.layers.size() + above.layers.size() + 1);
  request.overlays = above.pages ? 1 : 0;
  request.working_set = !above.state && image.working_set;
  if (request.working_set) fds.push_back(image.working_set.get());
  worker.shape(shape);
  return worker.owner().call(request, fds).message;
}

// The guest was stopped after it had counted so far: it prints that, if it has not yet, and goes
// on.
void check_goes_on(const host::ImageFiles& image, const Above& above, uint64_t count,
                   const TinyShape& shape = kShape) {
  const auto own_layer = memory_file();
  WorkerProcess worker;
  const auto reply = start(worker, image, above, own_layer, shape);
  if (error_code(reply) == ErrorCode::incompatible_cpu) {
    MESSAGE("skipped: ", std::get<wire::ErrorReply>(reply).message);
    return;
  }
  const auto* error = std::get_if<wire::ErrorReply>(&reply);
  REQUIRE_MESSAGE(error == nullptr, (error != nullptr ? error->message : ""));
  const std::string log = worker.kernel_log(50);
  const uint64_t first = log[0] == counter_character(count) ? count : count + 1;
  for (size_t i = 0; i < 50; ++i) REQUIRE(log[i] == counter_character(first + i));
}

}  // namespace

TEST_CASE("golden v1: guests of a raw image and of one that was packed go on") {
  const GoldenData data("v1");
  const auto store = data.store();
  must(host::pack_image(store, "counter:1", {}, {}));
  for (const char* image : {"counter:1", "counter:2"})
    must(host::unpack_image(store, image, {}, {}));
  check_goes_on(must(host::open_image_files(store, "counter:1", host::Limits({}))), {}, 100);
  check_goes_on(must(host::open_image_files(store, "counter:2", host::Limits({}))), {}, 105);
}

TEST_CASE("golden v1: the vm that slept twice wakes") {
  const GoldenData data("v1");
  const auto store = data.store();
  const auto dir = store.vm_dir(must(host::resolve_vm(store, "sleeper")));
  const auto saved = must(host::read_saved(dir));
  REQUIRE(saved);
  const auto image = must(host::open_image_files(store, "counter:1", host::Limits({})));
  check_goes_on(image, open_above(dir, *saved), 488);
}

TEST_CASE("golden v1: a vm starts from the checkpoint, and from the image made of it") {
  const GoldenData data("v1");
  const auto store = data.store();
  const auto checkpoint = must(host::open_checkpoint(store, "halfway"));
  const auto image = must(host::open_image_files(store, "counter:1", host::Limits({})));
  check_goes_on(image, open_above(checkpoint.dir, checkpoint.saved), 204);
  must(host::commit_image_of(store, checkpoint, "counter", {}));
  check_goes_on(must(host::open_image_files(store, "counter:4", host::Limits({}))), {}, 204);
}

TEST_CASE(
    "golden v1-pci: guests of an image and of a vm that slept go on, on PCI and nowhere else") {
  const GoldenData data("v1-pci");
  const auto store = data.store();
  const auto image = must(host::open_image_files(store, "counter:1", host::Limits({})));
  CHECK(image.image.manifest.transport == wire::TransportKind::pci);
  check_goes_on(image, {}, 100, kPciShape);
  const auto dir = store.vm_dir(must(host::resolve_vm(store, "sleeper")));
  const auto saved = must(host::read_saved(dir));
  REQUIRE(saved);
  check_goes_on(image, open_above(dir, *saved), 201, kPciShape);
  const auto own_layer = memory_file();
  WorkerProcess other;
  CHECK(error_code(start(other, image, {}, own_layer, kShape)) == ErrorCode::invalid_argument);
}

// What its guest had set up: memory accesses, and a message for each vector.
TEST_CASE("golden v1-pci: devices find their registers and messages as they were") {
  const GoldenData data("v1-pci");
  const auto store = data.store();
  const auto image = must(host::open_image_files(store, "counter:1", host::Limits({})));
  const auto bytes = read_file(image.state.get());
  const auto state = must(state::Reader::parse(std::as_bytes(std::span(bytes))));
  const auto loop = must(sys::Loop::create());
  auto memory = must(vmm::GuestMemory::reserve(kPciShape.memory_bytes));
  must(memory.back_with_zeros());
  for (const uint32_t slot : {4u, 5u}) {
    std::unique_ptr<vmm::Device> device = std::make_unique<vmm::RngDevice>();
    if (slot == 4) device = std::make_unique<vmm::VsockDevice>(*loop);
    microvm::test::CountingMessages messages;
    vmm::PciTransport transport(memory, *loop, messages,
                                static_cast<uint32_t>(vmm::layout::virtio_pci_address(slot)),
                                std::move(device), nullptr);
    must(transport.restore(state, slot));
    const uint32_t command = microvm::test::read_config(transport, vmm::pci::kCommand, 2);
    CHECK((command & vmm::pci::kMemoryOn) != 0);
    const uint32_t vectors = slot == 4 ? 4 : 2;
    REQUIRE(messages.routes.size() == vectors);
    for (uint32_t vector = 0; vector < vectors; ++vector) {
      CHECK(messages.routes[vector].second ==
            microvm::test::message_of(static_cast<uint16_t>(vector)));
    }
  }
}
