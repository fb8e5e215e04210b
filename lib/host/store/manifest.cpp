#include "host/store/manifest.hpp"

#include "host/store/json_fields.hpp"
#include "host/store/names.hpp"
#include "wire/shape.hpp"

namespace microvm::host {

using base::fail;

namespace {

constexpr uint64_t kMaxFileBytes = 1ull << 48;  // 256 TiB
constexpr uint64_t kMaxMilliseconds = 1ull << 53;
constexpr size_t kMaxModules = 64;
constexpr size_t kMaxLayers = 64;
constexpr size_t kMaxBaseNameBytes = 257;  // a base's name and tag
constexpr size_t kMaxWords = 4096;         // of argv, of env
constexpr size_t kMaxWordBytes = 131072;   // MAX_ARG_STRLEN of Linux
constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxCmdlineBytes = 2048;

Json to_json(const FileRecord& record) {
  Json out = {
      {"file", record.file}, {"size_bytes", record.size_bytes}, {"data_bytes", record.data_bytes}};
  if (!record.sha256.empty()) out.set("sha256", record.sha256);
  return out;
}

Json to_json(const std::vector<FileRecord>& records) {
  std::vector<Json> out;
  for (const auto& record : records) out.push_back(to_json(record));
  return out;
}

FileRecord read_record(const Fields& in) {
  FileRecord record;
  record.file = in.file_name("file");
  record.size_bytes = in.number("size_bytes", kMaxFileBytes);
  record.data_bytes = in.number("data_bytes", kMaxFileBytes);
  record.sha256 = in.digest_or_empty("sha256");
  if (record.data_bytes > record.size_bytes) in.report("data_bytes", "is larger than the file");
  return record;
}

std::vector<FileRecord> read_records(const Fields& in, const char* key, size_t max_count) {
  std::vector<FileRecord> records;
  for (const Fields& item : in.children(key, max_count)) records.push_back(read_record(item));
  return records;
}

std::string timeout_key(const HookKind& kind) {
  return std::string(kind.name) + "_ms";
}

Json to_json(const Hooks& hooks) {
  Json out = {{"port", hooks.port}};
  for (const HookKind& kind : kHookKinds) {
    if (kind.is_on(hooks)) out.set(timeout_key(kind), (hooks.*kind.timeout).count());
  }
  return out;
}

Hooks read_hooks(const Fields& in) {
  Hooks hooks;
  hooks.port = static_cast<uint16_t>(in.number("port", 65535));
  if (hooks.port == 0) in.report("port", "is 0");
  for (const HookKind& kind : kHookKinds) {
    const auto longest = static_cast<uint64_t>(kind.longest.count());
    hooks.*kind.timeout =
        std::chrono::milliseconds(in.number_or(timeout_key(kind).c_str(), longest, 0));
  }
  return hooks;
}

Json to_json(const ImageConfig& config) {
  Json out = {{"entrypoint", config.entrypoint},
              {"cmd", config.cmd},
              {"env", config.env},
              {"workdir", config.workdir},
              {"user", config.user},
              {"exposed_ports", config.exposed_ports},
              {"labels", config.labels},
              {"stop_signal", config.stop_signal}};
  if (config.hooks.port != 0) out.set("hooks", to_json(config.hooks));
  return out;
}

ImageConfig read_config(const Fields& in) {
  ImageConfig config;
  config.entrypoint = in.texts("entrypoint", kMaxWords, kMaxWordBytes);
  config.cmd = in.texts("cmd", kMaxWords, kMaxWordBytes);
  config.env = in.texts("env", kMaxWords, kMaxWordBytes);
  config.workdir = in.text("workdir", kMaxPathBytes);
  config.user = in.text("user", 256);
  for (const uint64_t port : in.numbers("exposed_ports", 1024, 65535))
    config.exposed_ports.push_back(static_cast<uint16_t>(port));
  config.labels = in.text_map("labels", 1024, 65536);
  config.stop_signal = in.text("stop_signal", 32);
  if (in.has("hooks")) config.hooks = read_hooks(in.child("hooks"));
  if (!config.workdir.starts_with('/')) in.report("workdir", "is not an absolute path");
  return config;
}

const char* form_name(ImageForm form) {
  return form == ImageForm::raw ? "raw" : "packed";
}

ImageForm read_form(const Fields& in) {
  const auto text = in.text("form", 16);
  if (text != "raw" && text != "packed") in.report("form", "is neither raw nor packed");
  return text == "packed" ? ImageForm::packed : ImageForm::raw;
}

// Images of before had no other.
wire::TransportKind read_transport(const Fields& in) {
  if (!in.has("transport")) return wire::TransportKind::mmio;
  const auto text = in.text("transport", 16);
  if (text != "mmio" && text != "pci") in.report("transport", "is neither mmio nor pci");
  return text == "pci" ? wire::TransportKind::pci : wire::TransportKind::mmio;
}

void read_info(const Fields& in, ImageInfo& info) {
  info.name = in.text("name", 128);
  info.version = in.text("version", 16);
  info.created = in.text("created", 40);
  info.base = in.text("base", kMaxBaseNameBytes);
  info.kernel = in.text("kernel", kMaxBaseNameBytes);
  info.memory_bytes = in.number("memory_bytes", wire::kMaxMemoryBytes);
  info.vcpus = static_cast<uint32_t>(in.number("vcpus", wire::kMaxVcpus));
  info.memory_data_bytes = in.number("memory_data_bytes", kMaxFileBytes);
  info.disk_data_bytes = in.number("disk_data_bytes", kMaxFileBytes);
  info.boot_ms = in.number("boot_ms", kMaxMilliseconds);
  info.has_app = in.number_or("has_app", 1, 1) == 1;
  info.config = read_config(in.child("config"));
  if (!is_image_name(info.name)) in.report("name", "is not an image name");
  if (!parse_version(info.version)) in.report("version", "is not a version");
  if (info.vcpus == 0) in.report("vcpus", "is 0");
}

// Opens the document, hands its fields to `read`, and turns the first broken one into the error.
template <class Manifest, class Read>
Result<Manifest> parse(std::string_view text, const std::string& file, Read read) {
  const auto document = parse_json_object(text, kMaxManifestBytes, file);
  if (!document) return fail(document.error());
  FieldErrors errors{file, {}};
  const Fields in(*document, errors);
  in.schema(kManifestSchema);
  Manifest manifest;
  if (!errors.first) read(in, manifest);
  if (errors.first) return fail(std::move(*errors.first));
  return manifest;
}

// What was written must be readable: the reader is the one place that knows the bounds.
template <class Parse>
Result<std::string> encode(const Json& document, const std::string& what, Parse parse_back) {
  auto text = dump_json(document, what);
  if (!text) return text;
  if (const auto readable = parse_back(*text, what); !readable)
    return fail(ErrorCode::invalid_argument, readable.error().message);
  return text;
}

}  // namespace

Result<std::string> encode_manifest(const KernelManifest& manifest) {
  Json document = {{"schema", kManifestSchema},
                   {"name", manifest.info.name},
                   {"digest", manifest.info.digest},
                   {"imported_ms", manifest.imported_ms},
                   {"vmlinux", to_json(manifest.vmlinux)},
                   {"modules", to_json(manifest.modules)}};
  if (manifest.virtio_pci) document.set("virtio_pci", 1);
  if (manifest.virtio_net) document.set("virtio_net", 1);
  if (manifest.modules_disk) document.set("modules_disk", to_json(*manifest.modules_disk));
  return encode(document, "kernel " + manifest.info.name, parse_kernel_manifest);
}

Result<std::string> encode_manifest(const BaseManifest& manifest) {
  const Json document = {{"schema", kManifestSchema},
                         {"name", manifest.info.name},
                         {"digest", manifest.info.digest},
                         {"imported_ms", manifest.imported_ms},
                         {"disk", to_json(manifest.disk)}};
  return encode(document, "base " + manifest.info.name, parse_base_manifest);
}

Result<std::string> encode_manifest(const ImageManifest& manifest) {
  const ImageInfo& info = manifest.info;
  Json document = {{"schema", kManifestSchema},
                   {"name", info.name},
                   {"version", info.version},
                   {"created", info.created},
                   {"base", info.base},
                   {"kernel", info.kernel},
                   {"memory_bytes", info.memory_bytes},
                   {"vcpus", info.vcpus},
                   {"memory_data_bytes", info.memory_data_bytes},
                   {"disk_data_bytes", info.disk_data_bytes},
                   {"boot_ms", info.boot_ms},
                   {"config", to_json(info.config)},
                   {"kernel_digest", manifest.kernel_digest},
                   {"base_digest", manifest.base_digest},
                   {"disk_bytes", manifest.disk_bytes},
                   {"ready_port", manifest.ready_port},
                   {"kernel_cmdline", manifest.kernel_cmdline},
                   {"layers", to_json(manifest.layers)},
                   {"memory", to_json(manifest.memory)},
                   {"state", to_json(manifest.state)},
                   {"form", form_name(manifest.form)},
                   {"memory_raw_bytes", manifest.memory_raw_bytes}};
  if (!info.has_app) document.set("has_app", 0);
  if (manifest.transport == wire::TransportKind::pci) document.set("transport", "pci");
  if (manifest.nets != 0) document.set("nets", manifest.nets);
  if (manifest.working_set) document.set("working_set", to_json(*manifest.working_set));
  if (manifest.modules_disk) document.set("modules_disk", to_json(*manifest.modules_disk));
  return encode(document, "image " + info.name, parse_image_manifest);
}

Result<KernelManifest> parse_kernel_manifest(std::string_view text, const std::string& file) {
  return parse<KernelManifest>(text, file, [](const Fields& in, KernelManifest& manifest) {
    manifest.info.name = in.text("name", 128);
    manifest.info.digest = in.digest("digest");
    manifest.imported_ms = static_cast<int64_t>(in.number("imported_ms", kMaxMilliseconds));
    manifest.vmlinux = read_record(in.child("vmlinux"));
    manifest.modules = read_records(in, "modules", kMaxModules);
    manifest.virtio_pci = in.number_or("virtio_pci", 1, 0) == 1;
    manifest.virtio_net = in.number_or("virtio_net", 1, 0) == 1;
    if (in.has("modules_disk")) manifest.modules_disk = read_record(in.child("modules_disk"));
    manifest.info.size_bytes = manifest.vmlinux.size_bytes;
    if (!is_plain_file_name(manifest.info.name)) in.report("name", "is not a kernel release");
  });
}

Result<BaseManifest> parse_base_manifest(std::string_view text, const std::string& file) {
  return parse<BaseManifest>(text, file, [](const Fields& in, BaseManifest& manifest) {
    manifest.info.name = in.text("name", kMaxBaseNameBytes);
    manifest.info.digest = in.digest("digest");
    manifest.imported_ms = static_cast<int64_t>(in.number("imported_ms", kMaxMilliseconds));
    manifest.disk = read_record(in.child("disk"));
    manifest.info.size_bytes = manifest.disk.size_bytes;
    if (!is_base_name(manifest.info.name)) in.report("name", "is not a base name");
  });
}

Result<ImageManifest> parse_image_manifest(std::string_view text, const std::string& file) {
  return parse<ImageManifest>(text, file, [](const Fields& in, ImageManifest& manifest) {
    read_info(in, manifest.info);
    manifest.kernel_digest = in.digest("kernel_digest");
    manifest.base_digest = in.digest("base_digest");
    manifest.disk_bytes = in.number("disk_bytes", kMaxFileBytes);
    manifest.ready_port = static_cast<uint16_t>(in.number("ready_port", 65535));
    manifest.kernel_cmdline = in.text("kernel_cmdline", kMaxCmdlineBytes);
    manifest.transport = read_transport(in);
    manifest.nets = static_cast<uint16_t>(in.number_or("nets", wire::kMaxNets, 0));
    manifest.layers = read_records(in, "layers", kMaxLayers);
    manifest.memory = read_record(in.child("memory"));
    manifest.state = read_record(in.child("state"));
    manifest.form = read_form(in);
    manifest.memory_raw_bytes = in.number_or("memory_raw_bytes", kMaxFileBytes, 0);
    if (in.has("working_set")) manifest.working_set = read_record(in.child("working_set"));
    if (in.has("modules_disk")) manifest.modules_disk = read_record(in.child("modules_disk"));
    if (manifest.state.sha256.empty()) in.report("state", "has no sha256");
  });
}

}  // namespace microvm::host
