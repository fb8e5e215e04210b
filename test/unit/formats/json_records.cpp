#include <doctest/doctest.h>

#include "format.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/vm_files.hpp"
#include "host/saved/vm_record.hpp"
#include "host/store/manifest.hpp"

namespace microvm::test {
namespace {

using host::FileRecord;

const std::string kDigest(64, 'a');
constexpr std::string_view kSchema = "\"schema\": 1";

wire::Bytes bytes_of(std::string_view text) {
  const auto bytes = wire::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

// Every encoder writes the schema as above; `more` stands before it.
std::string with_schema(std::string text, uint32_t version, const std::string& more = {}) {
  const size_t at = text.find(kSchema);
  REQUIRE(at != std::string::npos);
  return text.replace(at, kSchema.size(), more + "\"schema\": " + std::to_string(version));
}

// `parse` and `encode` are those of the library.
template <class Parse, class Encode>
Format record(const std::string& file, const std::string& good, Parse parse, Encode encode) {
  return {
      .name = file,
      .good = bytes_of(good),
      .read = [=](wire::ByteView bytes) -> Result<wire::Bytes> {
        const auto value = parse(wire::as_text(bytes), file);
        if (!value) return base::fail(value.error());
        return bytes_of(encode(*value));
      },
      .with_version = [good](uint32_t version) { return bytes_of(with_schema(good, version)); },
      .newest = 1,
      .named = file + ": schema",
      .with_more = bytes_of(with_schema(good, 1, R"("of_later": {"x": [1, null, -2.5, true]}, )"))};
}

Format vm_record() {
  host::VmRecord sample;
  sample.id = "0123456789ab";
  sample.name = "web";
  sample.image = "app:1";
  sample.created = "2026-01-02T03:04:05Z";
  sample.memory_bytes = 1 << 28;
  sample.vcpus = 2;
  sample.hostname = "web";
  sample.machine_id = std::string(32, 'a');
  sample.boot_id = std::string(36, 'b');
  sample.idle.idle_after = std::chrono::seconds(30);
  sample.network = {.mode = NetworkMode::tap,
                    .tap = "tap0",
                    .mac = "02:00:5e:10:00:01",
                    .addresses = {"192.0.2.7/24"},
                    .gateways = {"192.0.2.1"},
                    .dns = {"192.0.2.1"}};
  return record("vm.json", host::encode_record(sample), host::parse_record, host::encode_record);
}

Format run_record() {
  const host::VmRun sample{.worker_pid = 42,
                           .layers = {"disk-1.layer", "disk-2.layer"},
                           .pages = {"pages-1"},
                           .pages_known = false};
  return record("run.json", host::encode_run(sample), host::parse_run, host::encode_run);
}

Format saved_record() {
  const host::SavedState sample{.saved = "2026-01-02T03:04:05Z",
                                .layers = {"disk-1.layer", "disk-2.layer"},
                                .pages = {"pages-1", "pages-3"},
                                .state = "state-3",
                                .checks = {{kDigest, 4096, 7, 8}, {"", 4096, 9, 10}}};
  return record("saved.json", host::encode_saved(sample), host::parse_saved, host::encode_saved);
}

Format checkpoint_record() {
  const CheckpointInfo sample{.id = "0123456789ab",
                              .name = "before",
                              .vm_id = "ba9876543210",
                              .image = "app:1",
                              .created = "2026-01-02T03:04:05Z",
                              .memory_bytes = 1 << 28,
                              .vcpus = 2,
                              .stored_bytes = 12345};
  return record("checkpoint.json", host::encode_checkpoint(sample), host::parse_checkpoint,
                host::encode_checkpoint);
}

// What can be read can be written: a manifest that was damaged to something that has no encoding
// must not be read.
template <class Manifest>
std::string encode_whole(const Manifest& manifest) {
  return host::encode_manifest(manifest).value_or("");
}

Format kernel_manifest() {
  host::KernelManifest sample;
  sample.info = {"6.12.1-cloud-amd64", kDigest, 100};
  sample.imported_ms = 1764500000000;
  sample.vmlinux = {"vmlinux", 100, 100, kDigest};
  sample.modules = {{"00-a.ko", 10, 10, kDigest}};
  sample.modules_disk = {{"modules.ext4", 4096, 4096, kDigest}};
  return record("kernel manifest.json", encode_whole(sample), host::parse_kernel_manifest,
                encode_whole<host::KernelManifest>);
}

Format base_manifest() {
  host::BaseManifest sample;
  sample.info = {"debian:bookworm", kDigest, 4096};
  sample.imported_ms = 1764500000000;
  sample.disk = {"disk.ext4", 4096, 4096, kDigest};
  return record("base manifest.json", encode_whole(sample), host::parse_base_manifest,
                encode_whole<host::BaseManifest>);
}

Format image_manifest() {
  host::ImageManifest sample;
  sample.info.name = "counter";
  sample.info.version = "3";
  sample.info.created = "2026-01-02T03:04:05Z";
  sample.info.base = "debian:bookworm";
  sample.info.kernel = "6.12.1-cloud-amd64";
  sample.info.memory_bytes = 512u << 20;
  sample.info.vcpus = 2;
  sample.info.config.cmd = {"app"};
  sample.info.config.env = {"A=\xc3\xbc"};
  sample.info.config.exposed_ports = {80};
  sample.info.config.labels = {{"k", "v"}};
  sample.info.config.hooks.port = 9000;
  sample.info.config.hooks.run = std::chrono::seconds(1);
  sample.kernel_digest = kDigest;
  sample.base_digest = kDigest;
  sample.disk_bytes = 8ull << 30;
  sample.ready_port = 80;
  sample.kernel_cmdline = "quiet";
  sample.layers = {{"app.layer", 100, 50, kDigest}};
  sample.memory = {"memory.zst", 4096, 4096, kDigest};
  sample.state = {"state", 10, 10, kDigest};
  sample.working_set = FileRecord{"working_set", 100, 100, kDigest};
  sample.form = host::ImageForm::packed;
  sample.memory_raw_bytes = 512u << 20;
  sample.modules_disk = {{"modules.ext4", 4096, 4096, kDigest}};
  return record("image manifest.json", encode_whole(sample), host::parse_image_manifest,
                encode_whole<host::ImageManifest>);
}

}  // namespace

std::vector<Format> json_records() {
  return {vm_record(),       run_record(),    saved_record(),  checkpoint_record(),
          kernel_manifest(), base_manifest(), image_manifest()};
}

}  // namespace microvm::test
