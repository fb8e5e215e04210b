#include "host/saved/vm_record.hpp"

#include <array>

#include "host/store/json_fields.hpp"
#include "host/store/names.hpp"
#include "wire/shape.hpp"

namespace microvm {

const char* vm_state_name(VmState state) noexcept {
  static constexpr std::array kNames = {"running", "suspending", "suspended", "terminating",
                                        "terminated"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

}  // namespace microvm

namespace microvm::host {
namespace {

IdlePolicy parse_idle(const Fields& fields) {
  const auto time = [&](const char* key) {
    return std::chrono::milliseconds(fields.number_or(key, INT64_MAX, 0));
  };
  IdlePolicy idle;
  idle.idle_after = time("idle_after_ms");
  idle.suspended_for = time("suspended_for_ms");
  idle.lifetime = time("lifetime_ms");
  idle.lifetime_counts_sleep = fields.number_or("lifetime_counts_sleep", 1, 0) == 1;
  idle.cpu_threshold =
      static_cast<double>(fields.number_or("cpu_threshold_ppm", INT64_MAX, 50'000)) / 1e6;
  idle.auto_resume = fields.number_or("auto_resume", 1, 1) == 1;
  return idle;
}

constexpr size_t kMaxAddressText = 64;

Json to_json(const VmNetwork& network) {
  if (network.mode != NetworkMode::tap) return {{"mode", network_mode_name(network.mode)}};
  return {{"mode", "tap"},
          {"tap", network.tap},
          {"mac", network.mac},
          {"addresses", network.addresses},
          {"gateways", network.gateways},
          {"dns", network.dns}};
}

VmNetwork parse_network(const Fields& fields) {
  VmNetwork network;
  if (!fields.has("network")) return network;  // of before, or with none
  const Fields in = fields.child("network");
  const std::string mode = in.text("mode", 16);
  if (mode == "user") network.mode = NetworkMode::user;
  if (mode != "tap") return network;  // one of a newer library: no link
  network.mode = NetworkMode::tap;
  const auto texts = [&](const char* key) {
    return in.texts(key, kMaxTapAddresses, kMaxAddressText);
  };
  network.tap = in.text("tap", kMaxInterfaceName);
  network.mac = in.text("mac", kMaxAddressText);
  network.addresses = texts("addresses");
  network.gateways = texts("gateways");
  network.dns = texts("dns");
  return network;
}

}  // namespace

Result<void> check_policy(const IdlePolicy& policy) {
  constexpr double kMostCpus = 1e6;
  for (const auto time : {policy.idle_after, policy.suspended_for, policy.lifetime}) {
    if (time.count() >= 0) continue;
    return base::fail(ErrorCode::invalid_argument,
                      "a time of the idle policy is negative: 0 means never");
  }
  if (policy.cpu_threshold >= 0 && policy.cpu_threshold <= kMostCpus) return {};
  return base::fail(ErrorCode::invalid_argument,
                    "the cpu threshold of the idle policy is no number of cpus");
}

std::string encode_record(const VmRecord& record) {
  Json object = {
      {"schema", kVmRecordSchema},
      {"id", record.id},
      {"name", record.name},
      {"image", record.image},
      {"created", record.created},
      {"memory_bytes", record.memory_bytes},
      {"vcpus", record.vcpus},
      {"dies_with_owner", record.dies_with_owner ? 1 : 0},
      {"hostname", record.hostname},
      {"machine_id", record.machine_id},
      {"boot_id", record.boot_id},
      {"idle_after_ms", record.idle.idle_after.count()},
      {"suspended_for_ms", record.idle.suspended_for.count()},
      {"lifetime_ms", record.idle.lifetime.count()},
      {"lifetime_counts_sleep", record.idle.lifetime_counts_sleep ? 1 : 0},
      {"cpu_threshold_ppm", static_cast<uint64_t>(record.idle.cpu_threshold * 1e6)},
      {"auto_resume", record.idle.auto_resume ? 1 : 0},
  };
  if (record.network.mode != NetworkMode::none) object.set("network", to_json(record.network));
  // Every text in it passed a name check or is of our own making: it is UTF-8.
  return dump_json(object, "a microvm's record").value_or("");
}

Result<VmRecord> parse_record(std::string_view text, const std::string& file) {
  const auto object = parse_json_object(text, kMaxVmRecordBytes, file);
  if (!object) return base::fail(object.error());
  FieldErrors errors{file, {}};
  const Fields fields(*object, errors);
  fields.schema(kVmRecordSchema);
  VmRecord record;
  record.id = fields.text("id", 12);
  if (!is_vm_id(record.id)) fields.report("id", "is not 12 hex digits");
  record.name = fields.text("name", 63);
  record.image = fields.text("image", 256);
  record.created = fields.text("created", 32);
  record.memory_bytes = fields.number("memory_bytes", wire::kMaxMemoryBytes);
  record.vcpus = static_cast<uint32_t>(fields.number("vcpus", wire::kMaxVcpus));
  record.dies_with_owner = fields.number("dies_with_owner", 1) == 1;
  record.hostname = fields.text("hostname", 63);
  record.machine_id = fields.text("machine_id", 32);
  record.boot_id = fields.text("boot_id", 36);
  record.idle = parse_idle(fields);
  record.network = parse_network(fields);
  if (errors.first) return base::fail(*errors.first);
  return record;
}

VmInfo to_info(const VmRecord& record) {
  VmInfo info;
  info.id = record.id;
  info.name = record.name;
  info.image = record.image;
  info.created = record.created;
  info.memory_bytes = record.memory_bytes;
  info.vcpus = record.vcpus;
  info.dies_with_owner = record.dies_with_owner;
  return info;
}

}  // namespace microvm::host
