// Runtime: kernels, bases, images.
#include "arguments.hpp"
#include "bindings.hpp"
#include "callbacks.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using RuntimeHandle = Handle<Runtime>;

// A call of the Runtime that takes one text and nothing else.
template <auto method>
auto of_text(const char* name) {
  return [name](const RuntimeHandle& runtime, py::handle given, py::handle timeout,
                py::handle cancel) {
    const std::string value = to_text(name, given);
    Call call(timeout, cancel);
    const auto f = [&](Runtime& r, const CallLimits& limits) { return (r.*method)(value, limits); };
    if constexpr (std::is_void_v<decltype(runtime.use(call, f))>) {
      runtime.use(call, f);
    } else {
      return describe(runtime.use(call, f));
    }
  };
}

template <auto method>
py::list listing(const RuntimeHandle& runtime, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  return describe(
      runtime.use(call, [](Runtime& r, const CallLimits& limits) { return (r.*method)(limits); }));
}

py::dict import_kernel(const RuntimeHandle& runtime, py::handle given, py::handle timeout,
                       py::handle cancel) {
  const auto deb = to_path("deb", given);
  Call call(timeout, cancel);
  return describe(runtime.use(
      call, [&](Runtime& r, const CallLimits& limits) { return r.import_kernel(deb, limits); }));
}

py::dict import_base(const RuntimeHandle& runtime, py::handle given_name, py::handle given_tar,
                     const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string name = to_text("name", given_name);
  const auto tar = to_path("tar", given_tar);
  const Options options(given);
  Call call(timeout, cancel);
  ImportBaseOptions wanted;
  options.take("disk_bytes", wanted.disk_bytes);
  const py::object progress = options.find("progress");
  wanted.progress = progress_sink(call, progress);
  return describe(runtime.use(call, [&](Runtime& r, const CallLimits& limits) {
    return r.import_base(name, tar, wanted, limits);
  }));
}

BuildOptions build_options(const Options& options) {
  BuildOptions wanted;
  options.need("context", wanted.context);
  options.take("dockerfile", wanted.dockerfile);
  options.need("tag", wanted.tag);
  options.take("build_args", wanted.build_args);
  options.take("kernel", wanted.kernel);
  options.take("memory_bytes", wanted.memory_bytes);
  options.take("vcpus", wanted.vcpus);
  options.take("ready_port", wanted.ready_port);
  options.take("ready_timeout", wanted.ready_timeout);
  options.take("hooks", wanted.hooks);
  options.take("host_proxy", wanted.host_proxy);
  if (const auto network = options.find("network"); !network.is_none()) {
    read_network_options(network, wanted.network);
  }
  return wanted;
}

py::dict build(const RuntimeHandle& runtime, const py::dict& given, py::handle timeout,
               py::handle cancel) {
  const Options options(given);
  BuildOptions wanted = build_options(options);
  Call call(timeout, cancel);
  const py::object progress = options.find("progress");
  wanted.progress = progress_sink(call, progress);
  return describe(runtime.use(
      call, [&](Runtime& r, const CallLimits& limits) { return r.build(wanted, limits); }));
}

template <auto method>
py::dict convert(const RuntimeHandle& runtime, py::handle given, py::handle progress,
                 py::handle timeout, py::handle cancel) {
  const std::string reference = to_text("reference", given);
  Call call(timeout, cancel);
  const PackOptions wanted{.progress = progress_sink(call, progress)};
  return describe(runtime.use(call, [&](Runtime& r, const CallLimits& limits) {
    return (r.*method)(reference, wanted, limits);
  }));
}

py::dict commit(const RuntimeHandle& runtime, py::handle given_checkpoint, py::handle given_name,
                py::handle timeout, py::handle cancel) {
  const std::string checkpoint = to_text("checkpoint", given_checkpoint);
  const std::string name = to_text("image_name", given_name);
  Call call(timeout, cancel);
  return describe(runtime.use(call, [&](Runtime& r, const CallLimits& limits) {
    return r.commit(checkpoint, name, limits);
  }));
}

}  // namespace

void bind_images(Bound<Runtime>& runtime) {
  runtime.def("import_kernel", &import_kernel)
      .def("kernels", &listing<&Runtime::kernels>)
      .def("remove_kernel", of_text<&Runtime::remove_kernel>("name_or_digest"))
      .def("import_base", &import_base)
      .def("bases", &listing<&Runtime::bases>)
      .def("remove_base", of_text<&Runtime::remove_base>("name"))
      .def("build", &build)
      .def("images", &listing<&Runtime::images>)
      .def("image", of_text<&Runtime::image>("reference"))
      .def("remove_image", of_text<&Runtime::remove_image>("reference"))
      .def("pack_image", &convert<&Runtime::pack_image>)
      .def("unpack_image", &convert<&Runtime::unpack_image>)
      .def("checkpoints", &listing<&Runtime::checkpoints>)
      .def("remove_checkpoint", of_text<&Runtime::remove_checkpoint>("id_or_name"))
      .def("commit", &commit);
}

}  // namespace microvm::python
