#include "values.hpp"

namespace microvm::python {

using py::literals::operator""_a;

namespace {

py::list texts(const std::vector<std::string>& values) {
  py::list list;
  for (const auto& value : values) list.append(text(value));
  return list;
}

double seconds(std::chrono::milliseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

py::dict map_of_texts(const std::map<std::string, std::string>& values) {
  py::dict dict;
  for (const auto& [key, value] : values) dict[text(key)] = text(value);
  return dict;
}

py::dict describe_item(const PrunedItem& item) {
  return py::dict("kind"_a = pruned_kind_name(item.kind), "name"_a = text(item.name),
                  "bytes"_a = item.bytes);
}

}  // namespace

py::str text(std::string_view bytes) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "surrogateescape");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

py::bytes bytes(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

py::str path_text(const std::filesystem::path& path) {
  return text(path.native());
}

py::dict describe(const KernelInfo& info) {
  return py::dict("name"_a = text(info.name), "digest"_a = text(info.digest),
                  "size_bytes"_a = info.size_bytes);
}

py::dict describe(const BaseInfo& info) {
  return py::dict("name"_a = text(info.name), "digest"_a = text(info.digest),
                  "size_bytes"_a = info.size_bytes);
}

py::dict describe(const Hooks& hooks) {
  py::dict dict("port"_a = hooks.port);
  for (const HookKind& kind : kHookKinds) dict[kind.name] = seconds(hooks.*kind.timeout);
  return dict;
}

py::dict describe(const ImageConfig& config) {
  py::list ports;
  for (const uint16_t port : config.exposed_ports) ports.append(port);
  return py::dict("entrypoint"_a = texts(config.entrypoint), "cmd"_a = texts(config.cmd),
                  "env"_a = texts(config.env), "workdir"_a = text(config.workdir),
                  "user"_a = text(config.user), "exposed_ports"_a = ports,
                  "labels"_a = map_of_texts(config.labels),
                  "stop_signal"_a = text(config.stop_signal), "hooks"_a = describe(config.hooks));
}

py::dict describe(const ImageInfo& info) {
  return py::dict("name"_a = text(info.name), "version"_a = text(info.version),
                  "created"_a = text(info.created), "base"_a = text(info.base),
                  "kernel"_a = text(info.kernel), "memory_bytes"_a = info.memory_bytes,
                  "vcpus"_a = info.vcpus, "memory_data_bytes"_a = info.memory_data_bytes,
                  "disk_data_bytes"_a = info.disk_data_bytes, "boot_ms"_a = info.boot_ms,
                  "has_app"_a = info.has_app, "config"_a = describe(info.config));
}

py::dict describe(const Progress& progress) {
  return py::dict("step"_a = text(progress.step), "done"_a = progress.done,
                  "total"_a = progress.total, "output"_a = py::bytes(progress.output));
}

py::dict describe(const CheckpointInfo& info) {
  return py::dict("id"_a = text(info.id), "name"_a = text(info.name), "vm_id"_a = text(info.vm_id),
                  "image"_a = text(info.image), "created"_a = text(info.created),
                  "memory_bytes"_a = info.memory_bytes, "vcpus"_a = info.vcpus,
                  "stored_bytes"_a = info.stored_bytes);
}

py::dict describe(const PruneReport& report) {
  py::list items;
  for (const PrunedItem& item : report.items) items.append(describe_item(item));
  return py::dict("items"_a = items, "bytes"_a = report.bytes);
}

py::dict describe(const VmEvent& event) {
  return py::dict("time"_a = text(event.time), "vm_id"_a = text(event.vm_id),
                  "kind"_a = vm_event_name(event.kind), "cause"_a = text(event.cause),
                  "took_us"_a = event.took_us, "detail"_a = text(event.detail),
                  "end"_a = vm_end_name(event.end));
}

}  // namespace microvm::python
