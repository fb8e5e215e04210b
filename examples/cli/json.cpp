#include "json.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace cli {

using nlohmann::ordered_json;

namespace {

template <class T>
void print_list(const std::vector<T>& items) {
  std::vector<Json> list;
  for (const T& item : items) list.push_back(to_json(item));
  print_json(list);
}

}  // namespace

Json::Json(ordered_json&& value) : value_(std::make_shared<ordered_json>(std::move(value))) {}

Json::Json(std::nullptr_t) : Json(ordered_json(nullptr)) {}

Json::Json(const std::string& text) : Json(ordered_json(text)) {}

Json::Json(const char* text) : Json(ordered_json(text)) {}

Json::Json(bool flag) : Json(ordered_json(flag)) {}

Json::Json(double number) : Json(ordered_json(number)) {}

Json::Json(const std::map<std::string, std::string>& texts) : Json(ordered_json(texts)) {}

Json::Json(std::initializer_list<Field> fields) : Json(ordered_json::object()) {
  for (const Field& field : fields) value_->emplace(field.key, ordered_json(*field.value.value_));
}

Json Json::object() {
  return Json(ordered_json::object());
}

Json Json::of(int64_t number) {
  return Json(ordered_json(number));
}

Json Json::of(uint64_t number) {
  return Json(ordered_json(number));
}

Json Json::of(const std::vector<Json>& items) {
  ordered_json array = ordered_json::array();
  for (const Json& item : items) array.push_back(*item.value_);
  return Json(std::move(array));
}

void Json::set(const std::string& key, const Json& value) {
  if (value_.use_count() > 1) value_ = std::make_shared<ordered_json>(*value_);
  (*value_)[key] = *value.value_;
}

std::string Json::line() const {
  return value_->dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void print_json(const Json& value) {
  fmt::print("{}\n", value.value_->dump(2, ' ', false, ordered_json::error_handler_t::replace));
}

void print_json(const microvm::ImageInfo& image) {
  print_json(to_json(image));
}

void print_json(const std::vector<microvm::KernelInfo>& kernels) {
  print_list(kernels);
}

void print_json(const std::vector<microvm::BaseInfo>& bases) {
  print_list(bases);
}

void print_json(const std::vector<microvm::ImageInfo>& images) {
  print_list(images);
}

void print_json(const std::vector<microvm::VmInfo>& vms) {
  print_list(vms);
}

Json to_json(const microvm::KernelInfo& kernel) {
  return {{"name", kernel.name}, {"digest", kernel.digest}, {"size_bytes", kernel.size_bytes}};
}

Json to_json(const microvm::BaseInfo& base) {
  return {{"name", base.name}, {"digest", base.digest}, {"size_bytes", base.size_bytes}};
}

Json to_json(const microvm::Hooks& hooks) {
  if (hooks.port == 0) return Json::object();
  Json out = {{"port", hooks.port}};
  for (const microvm::HookKind& kind : microvm::kHookKinds) {
    if (kind.is_on(hooks)) out.set(std::string(kind.name) + "_ms", (hooks.*kind.timeout).count());
  }
  return out;
}

Json to_json(const microvm::ImageInfo& image) {
  const microvm::ImageConfig& config = image.config;
  return {{"name", image.name},
          {"version", image.version},
          {"created", image.created},
          {"base", image.base},
          {"kernel", image.kernel},
          {"memory_bytes", image.memory_bytes},
          {"vcpus", image.vcpus},
          {"memory_data_bytes", image.memory_data_bytes},
          {"disk_data_bytes", image.disk_data_bytes},
          {"boot_ms", image.boot_ms},
          {"has_app", image.has_app},
          {"config",
           {{"entrypoint", config.entrypoint},
            {"cmd", config.cmd},
            {"env", config.env},
            {"workdir", config.workdir},
            {"user", config.user},
            {"exposed_ports", config.exposed_ports},
            {"labels", config.labels},
            {"stop_signal", config.stop_signal},
            {"hooks", to_json(config.hooks)}}}};
}

Json to_json(const microvm::VmInfo& vm) {
  return {{"id", vm.id},
          {"name", vm.name},
          {"image", vm.image},
          {"state", microvm::vm_state_name(vm.state)},
          {"state_reason", vm.state_reason},
          {"end", vm.end == microvm::VmEnd::none ? Json() : Json(microvm::vm_end_name(vm.end))},
          {"created", vm.created},
          {"worker_pid", vm.worker_pid},
          {"memory_bytes", vm.memory_bytes},
          {"vcpus", vm.vcpus},
          {"dies_with_owner", vm.dies_with_owner}};
}

Json to_json(const microvm::NetworkCounters& counters) {
  return {{"packets_from_guest", counters.packets_from_guest},
          {"packets_to_guest", counters.packets_to_guest},
          {"packets_dropped", counters.packets_dropped},
          {"bytes_from_guest", counters.bytes_from_guest},
          {"bytes_to_guest", counters.bytes_to_guest},
          {"flows", counters.flows},
          {"flows_open", counters.flows_open},
          {"flows_refused_by_rule", counters.flows_refused_by_rule},
          {"flows_refused_by_limit", counters.flows_refused_by_limit},
          {"flows_failed", counters.flows_failed},
          {"dns_queries", counters.dns_queries},
          {"dns_failed", counters.dns_failed}};
}

}  // namespace cli
