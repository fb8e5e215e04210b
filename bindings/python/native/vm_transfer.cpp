// Vm: trees of files between host and guest.
#include "bindings.hpp"
#include "callbacks.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;

DownloadOptions download_options(const Options& options) {
  DownloadOptions wanted;
  options.take("name", wanted.name);
  options.take("follow_link", wanted.follow_link);
  options.take("follow_target", wanted.follow_target);
  options.take("keep_owner", wanted.keep_owner);
  options.take("max_entries", wanted.max_entries);
  options.take("max_bytes", wanted.max_bytes);
  return wanted;
}

UploadOptions upload_options(const Options& options) {
  UploadOptions wanted;
  options.take("name", wanted.name);
  options.take("follow_link", wanted.follow_link);
  options.take("follow_target", wanted.follow_target);
  options.take("keep_owner", wanted.keep_owner);
  options.take("uid", wanted.uid);
  options.take("gid", wanted.gid);
  options.take("max_entries", wanted.max_entries);
  return wanted;
}

py::dict download(const VmHandle& vm, py::handle given_path, py::handle given_directory,
                  const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const auto directory = to_path("directory", given_directory);
  const DownloadOptions wanted = download_options(Options(given));
  Call call(timeout, cancel);
  return describe(vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.download(path, directory, wanted, limits);
  }));
}

py::dict download_tar(const VmHandle& vm, py::handle given_path, py::handle sink,
                      const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const DownloadOptions wanted = download_options(Options(given));
  Call call(timeout, cancel);
  const DataSink tar = data_sink(call, sink);
  return describe(vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.download_tar(path, tar, wanted, limits);
  }));
}

py::dict upload(const VmHandle& vm, py::handle given_path, py::handle given_directory,
                const py::dict& given, py::handle timeout, py::handle cancel) {
  const auto path = to_path("path", given_path);
  const std::string directory = to_text("directory", given_directory);
  const UploadOptions wanted = upload_options(Options(given));
  Call call(timeout, cancel);
  return describe(vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.upload(path, directory, wanted, limits);
  }));
}

py::dict upload_tar(const VmHandle& vm, py::handle source, py::handle given_directory,
                    const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string directory = to_text("directory", given_directory);
  const UploadOptions wanted = upload_options(Options(given));
  Call call(timeout, cancel);
  const DataSource tar = data_source(call, source);
  return describe(vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.upload_tar(tar, directory, wanted, limits);
  }));
}

}  // namespace

void bind_vm_transfer(Bound<Vm>& vm) {
  vm.def("download", &download)
      .def("download_tar", &download_tar)
      .def("upload", &upload)
      .def("upload_tar", &upload_tar);
}

}  // namespace microvm::python
