// Runtime: its Vms.
#include "arguments.hpp"
#include "bindings.hpp"
#include "values.hpp"
#include "vm_handle.hpp"

namespace microvm::python {

namespace {

using RuntimeHandle = Handle<Runtime>;

template <auto method>
VmPointer run(const RuntimeHandle& runtime, const char* name, py::handle given_source,
              const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string source = to_text(name, given_source);
  RunOptions wanted;
  read_run_options(Options(given), wanted);
  Call call(timeout, cancel);
  auto vm = runtime.use(call, [&](Runtime& r, const CallLimits& limits) {
    return (r.*method)(source, wanted, limits);
  });
  return make_vm(std::move(vm), runtime.family());
}

VmPointer run_image(const RuntimeHandle& runtime, py::handle image, const py::dict& options,
                    py::handle timeout, py::handle cancel) {
  return run<&Runtime::run>(runtime, "image", image, options, timeout, cancel);
}

VmPointer run_checkpoint(const RuntimeHandle& runtime, py::handle checkpoint,
                         const py::dict& options, py::handle timeout, py::handle cancel) {
  return run<&Runtime::run_checkpoint>(runtime, "id_or_name", checkpoint, options, timeout, cancel);
}

py::list vms(const RuntimeHandle& runtime, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return describe(
      runtime.use(call, [](Runtime& r, const CallLimits& limits) { return r.vms(limits); }));
}

VmPointer attach(const RuntimeHandle& runtime, py::handle given, py::handle timeout,
                 py::handle cancel) {
  const std::string id_or_name = to_text("id_or_name", given);
  Call call(timeout, cancel);
  // Nothing is lost with it if it is given up.
  struct Attached {
    Vm vm;
  };
  auto attached = runtime.use(call, [&](Runtime& r, const CallLimits& limits) -> Result<Attached> {
    auto vm = r.attach(id_or_name, limits);
    if (!vm) return tl::unexpected(vm.error());
    return Attached{std::move(*vm)};
  });
  return make_vm(std::move(attached.vm), runtime.family());
}

void remove_vm(const RuntimeHandle& runtime, py::handle given, py::handle timeout,
               py::handle cancel) {
  const std::string id_or_name = to_text("id_or_name", given);
  Call call(timeout, cancel);
  runtime.use(
      call, [&](Runtime& r, const CallLimits& limits) { return r.remove_vm(id_or_name, limits); });
}

void warm(const RuntimeHandle& runtime, py::handle given_image, py::handle given_count,
          py::handle timeout, py::handle cancel) {
  const std::string image = to_text("image", given_image);
  const auto count = static_cast<uint32_t>(to_number("count", given_count, UINT32_MAX));
  Call call(timeout, cancel);
  runtime.use(call,
              [&](Runtime& r, const CallLimits& limits) { return r.warm(image, count, limits); });
}

}  // namespace

void read_run_options(const Options& options, RunOptions& out) {
  options.take("name", out.name);
  options.take("dies_with_owner", out.dies_with_owner);
  options.take("start_timeout", out.start_timeout);
  options.take("idle", out.idle);
  options.take("run_hook_payload", out.run_hook_payload);
  if (const auto network = options.find("network"); !network.is_none()) {
    read_network_options(network, out.network);
  }
}

void bind_vms(Bound<Runtime>& runtime) {
  runtime.def("run", &run_image)
      .def("run_checkpoint", &run_checkpoint)
      .def("vms", &vms)
      .def("attach", &attach)
      .def("remove_vm", &remove_vm)
      .def("warm", &warm);
}

}  // namespace microvm::python
