#include "host/store/manifest.hpp"

#include <doctest/doctest.h>

using namespace microvm;
using namespace microvm::host;

namespace {

const std::string kDigest(64, 'a');

ImageManifest sample() {
  ImageManifest manifest;
  manifest.info.name = "counter";
  manifest.info.version = "3";
  manifest.info.created = "2026-01-02T03:04:05Z";
  manifest.info.base = "debian:bookworm";
  manifest.info.kernel = "6.12.1-cloud-amd64";
  manifest.info.memory_bytes = 512u << 20;
  manifest.info.vcpus = 2;
  manifest.info.config.cmd = {"python3", "app.py"};
  manifest.info.config.env = {"A=ü", "B="};
  manifest.info.config.exposed_ports = {80, 65535};
  manifest.info.config.labels = {{"k", "v"}};
  manifest.kernel_digest = kDigest;
  manifest.base_digest = kDigest;
  manifest.disk_bytes = 8ull << 30;
  manifest.ready_port = 80;
  manifest.kernel_cmdline = "console=ttyS0";
  manifest.layers = {{"layer-0", 100, 50, {}}, {"layer-1", 100, 50, kDigest}};
  manifest.memory = {"memory.raw", 512u << 20, 4096, {}};
  manifest.state = {"state.bin", 10, 10, kDigest};
  return manifest;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

Error error_of(const std::string& text) {
  const auto parsed = parse_image_manifest(text, "m.json");
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message.starts_with("m.json: "));
  return parsed.error();
}

}  // namespace

TEST_CASE("manifest: an image's is read back as it was written") {
  const auto text = encode_manifest(sample());
  REQUIRE(text);
  const auto back = parse_image_manifest(*text, "m.json");
  REQUIRE(back);
  CHECK(back->info.name == "counter");
  CHECK(back->info.version == "3");
  CHECK(back->info.config.env == sample().info.config.env);
  CHECK(back->info.config.exposed_ports == sample().info.config.exposed_ports);
  CHECK(back->info.config.labels == sample().info.config.labels);
  CHECK(back->layers.size() == 2);
  CHECK(back->layers[0].sha256.empty());
  CHECK(back->layers[1].sha256 == kDigest);
  CHECK(back->memory.size_bytes == 512u << 20);
  CHECK(back->form == ImageForm::raw);
  CHECK(*encode_manifest(*back) == *text);
}

TEST_CASE("manifest: an image may have a working set") {
  auto manifest = sample();
  const auto without = encode_manifest(manifest);
  REQUIRE(without);
  CHECK_FALSE(parse_image_manifest(*without, "m.json")->working_set);
  manifest.working_set = FileRecord{"working_set", 100, 100, kDigest};
  const auto text = encode_manifest(manifest);
  REQUIRE(text);
  const auto back = parse_image_manifest(*text, "m.json");
  REQUIRE(back);
  REQUIRE(back->working_set);
  CHECK(back->working_set->file == "working_set");
  CHECK(back->working_set->sha256 == kDigest);
  CHECK(error_of(replaced(*text, "\"working_set\": {", "\"working_set\": [], \"x\": {")).code ==
        ErrorCode::corrupt);
  CHECK(error_of(replaced(*text, "\"file\": \"working_set\"", "\"file\": \"../escape\"")).code ==
        ErrorCode::corrupt);
}

TEST_CASE("manifest: hooks are read back, within their bounds") {
  using std::chrono::seconds;
  auto manifest = sample();
  CHECK(encode_manifest(manifest)->find("hooks") == std::string::npos);
  manifest.info.config.hooks = {
      .port = 9000, .ready = seconds(3600), .suspend = seconds(60), .terminate = seconds(5)};
  const auto text = encode_manifest(manifest);
  REQUIRE(text);
  const auto back = parse_image_manifest(*text, "m.json");
  REQUIRE(back);
  const Hooks& hooks = back->info.config.hooks;
  CHECK(hooks.port == 9000);
  CHECK(hooks.ready == seconds(3600));
  CHECK(hooks.validate == seconds(0));
  CHECK(hooks.run == seconds(0));
  CHECK(hooks.suspend == seconds(60));
  CHECK(hooks.resume == seconds(0));
  CHECK(hooks.terminate == seconds(5));
  const std::pair<const char*, const char*> changes[] = {
      {"\"port\": 9000", "\"port\": 0"},
      {"\"port\": 9000", "\"port\": 70000"},
      {"\"port\": 9000", "\"port\": \"9000\""},
      {"\"ready_ms\": 3600000", "\"ready_ms\": 3600001"},
      {"\"suspend_ms\": 60000", "\"suspend_ms\": 60001"},
      {"\"suspend_ms\": 60000", "\"suspend_ms\": -1"},
      {"\"hooks\": {", "\"hooks\": [], \"x\": {"}};
  for (const auto& [from, to] : changes) {
    CAPTURE(to);
    CHECK(error_of(replaced(*text, from, to)).code == ErrorCode::corrupt);
  }
}

TEST_CASE("manifest: a kernel's and a base's are read back") {
  KernelManifest kernel{{"6.1.0-cloud", kDigest, 9}, 5, {"vmlinux", 9, 9, kDigest}, {}};
  kernel.modules = {{"00-virtio.ko", 3, 3, kDigest}};
  const auto kernel_back = parse_kernel_manifest(*encode_manifest(kernel), "k");
  REQUIRE(kernel_back);
  CHECK(kernel_back->modules.at(0).file == "00-virtio.ko");
  CHECK(kernel_back->info.size_bytes == 9);
  BaseManifest base{{"debian:12", kDigest, 7}, 5, {"disk.ext4", 7, 7, {}}};
  const auto base_back = parse_base_manifest(*encode_manifest(base), "b");
  REQUIRE(base_back);
  CHECK(base_back->info.name == "debian:12");
  CHECK(base_back->imported_ms == 5);
}

TEST_CASE("manifest: what a kernel has and an image was booted with; older ones do not say") {
  KernelManifest kernel{{"6.1.0-cloud", kDigest, 9}, 5, {"vmlinux", 9, 9, kDigest}, {}};
  CHECK_FALSE(parse_kernel_manifest(*encode_manifest(kernel), "k")->virtio_pci);
  kernel.virtio_pci = true;
  CHECK(parse_kernel_manifest(*encode_manifest(kernel), "k")->virtio_pci);
  CHECK_FALSE(parse_kernel_manifest(*encode_manifest(kernel), "k")->virtio_net);
  kernel.virtio_net = true;
  CHECK(parse_kernel_manifest(*encode_manifest(kernel), "k")->virtio_net);

  ImageManifest image = sample();
  const auto before = *encode_manifest(image);
  CHECK(before.find("transport") == std::string::npos);
  CHECK(before.find("nets") == std::string::npos);
  CHECK(parse_image_manifest(before, "i")->nets == 0);
  CHECK(parse_image_manifest(before, "i")->transport == wire::TransportKind::mmio);
  image.transport = wire::TransportKind::pci;
  const auto text = *encode_manifest(image);
  CHECK(parse_image_manifest(text, "i")->transport == wire::TransportKind::pci);
  CHECK(error_of(replaced(text, "\"pci\"", "\"isa\"")).code == ErrorCode::corrupt);
}

TEST_CASE("manifest: damage is found and named") {
  const auto text = *encode_manifest(sample());
  for (size_t keep : {0ul, 1ul, text.size() / 2, text.size() - 3})
    CHECK(error_of(text.substr(0, keep)).code == ErrorCode::corrupt);
  const std::pair<const char*, const char*> changes[] = {
      {"\"name\": \"counter\"", "\"name\": \"../up\""},
      {"\"version\": \"3\"", "\"version\": \"03\""},
      {"\"file\": \"memory.raw\"", "\"file\": \"../../etc/passwd\""},
      {"\"file\": \"layer-0\"", "\"file\": 7"},
      {"\"vcpus\": 2", "\"vcpus\": -2"},
      {"\"vcpus\": 2", "\"vcpus\": 2.5"},
      {"\"vcpus\": 2", "\"vcpus\": 0"},
      {"\"vcpus\": 2", "\"vcpus\": 100000"},
      {"\"disk_bytes\": 8589934592", "\"disk_bytes\": 1e400"},
      {"\"ready_port\": 80", "\"ready_port\": 65536"},
      {"\"form\": \"raw\"", "\"form\": \"cooked\""},
      {"\"workdir\": \"/\"", "\"workdir\": \"etc\""},
      {"\"data_bytes\": 50", "\"data_bytes\": 101"},
      {"\"schema\": 1", "\"schema\": 0"},
      {"aaaa\"", "aaaA\""}};
  for (const auto& [from, to] : changes)
    CHECK(error_of(replaced(text, from, to)).code == ErrorCode::corrupt);
}

TEST_CASE("manifest: a newer schema is unsupported, unknown fields are not") {
  const auto text = *encode_manifest(sample());
  CHECK(error_of(replaced(text, "\"schema\": 1", "\"schema\": 2")).code == ErrorCode::unsupported);
  CHECK(parse_image_manifest(replaced(text, "{", "{\"later\": [1],"), "m.json"));
}

TEST_CASE("manifest: deep nesting and size are refused before parsing") {
  CHECK(error_of("{\"a\":" + std::string(100'000, '[')).code == ErrorCode::corrupt);
  CHECK(error_of(std::string(kMaxManifestBytes + 1, ' ')).code == ErrorCode::corrupt);
  CHECK(error_of("[]").code == ErrorCode::corrupt);
}

TEST_CASE("manifest: what could not be read back is not written") {
  auto manifest = sample();
  manifest.info.config.env = {"A=\xff"};
  CHECK(encode_manifest(manifest).error().code == ErrorCode::invalid_argument);
  manifest = sample();
  manifest.info.config.cmd = {std::string(200'000, 'x')};
  CHECK(encode_manifest(manifest).error().code == ErrorCode::invalid_argument);
}
