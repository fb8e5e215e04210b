// Runtime: the data directory, what is kept in it, and what happens there.
#include "arguments.hpp"
#include "bindings.hpp"
#include "callbacks.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using RuntimeHandle = Handle<Runtime>;

std::unique_ptr<RuntimeHandle> open(const py::dict& given, py::handle timeout, py::handle cancel) {
  const Options options(given);
  RuntimeOptions wanted;
  options.take("data_dir", wanted.data_dir);
  options.take("pool_size", wanted.pool_size);
  options.take("memory_limit_bytes", wanted.memory_limit_bytes);
  options.take("max_waiting_calls", wanted.max_waiting_calls);
  wanted.log = log_sink("log", options.find("log"));
  wanted.on_event = event_sink("on_event", options.find("on_event"));
  Call call(timeout, cancel);
  auto runtime = call.run([&](const auto& limits) { return Runtime::open(wanted, limits); });
  return std::make_unique<RuntimeHandle>("the Runtime", std::move(runtime), make_family());
}

py::dict prune(const RuntimeHandle& runtime, const py::dict& given, py::handle timeout,
               py::handle cancel) {
  const Options options(given);
  PruneOptions wanted;
  options.take("dry_run", wanted.dry_run);
  options.take("images", wanted.images);
  options.take("bases_and_kernels", wanted.bases_and_kernels);
  Call call(timeout, cancel);
  return describe(
      runtime.use(call, [&](Runtime& r, const auto& limits) { return r.prune(wanted, limits); }));
}

// With it go all handles that came out of it.
void close(const RuntimeHandle& runtime) {
  const auto family = runtime.family();
  family->close();
}

}  // namespace

void bind_runtime(py::module_& module) {
  Bound<Runtime> runtime(module, "Runtime");
  runtime.def(py::init(&open))
      .def("prune", &prune)
      .def("data_dir",
           [](const RuntimeHandle& r) {
             return path_text(r.look([](Runtime& opened) { return opened.data_dir(); }));
           })
      .def("close", &close)
      .def_property_readonly("closed", &RuntimeHandle::closed);
  bind_images(runtime);
  bind_vms(runtime);
  bind_follow(runtime);
}

}  // namespace microvm::python
