// Vm: the files of its guest.
#include "arguments.hpp"
#include "bindings.hpp"
#include "callbacks.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;

ReadFileOptions read_options(const Options& options) {
  ReadFileOptions wanted;
  options.take("offset", wanted.offset);
  options.take("length", wanted.length);
  options.take("max_bytes", wanted.max_bytes);
  return wanted;
}

py::bytes read_file(const VmHandle& vm, py::handle given_path, const py::dict& given,
                    py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const ReadFileOptions wanted = read_options(Options(given));
  Call call(timeout, cancel);
  return bytes(vm.use(
      call, [&](Vm& v, const CallLimits& limits) { return v.read_file(path, wanted, limits); }));
}

py::dict read_file_to(const VmHandle& vm, py::handle given_path, py::handle sink,
                      const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const ReadFileOptions wanted = read_options(Options(given));
  Call call(timeout, cancel);
  const DataSink take = data_sink(call, sink);
  return describe(vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.read_file_to(path, take, wanted, limits);
  }));
}

WriteFileOptions write_options(const Options& options) {
  WriteFileOptions wanted;
  options.take("mode", wanted.mode);
  options.take("owner", wanted.owner);
  options.take("replace", wanted.replace);
  return wanted;
}

template <auto method>
void write_content(const VmHandle& vm, py::handle given_path, py::handle given_content,
                   const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const Bytes content("content", given_content);
  const WriteFileOptions wanted = write_options(Options(given));
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return (v.*method)(path, content.span(), wanted, limits);
  });
}

void write_file_from(const VmHandle& vm, py::handle given_path, py::handle source,
                     const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const WriteFileOptions wanted = write_options(Options(given));
  Call call(timeout, cancel);
  const DataSource give = data_source(call, source);
  vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.write_file_from(path, give, wanted, limits);
  });
}

py::dict stat_file(const VmHandle& vm, py::handle given_path, const py::dict& given,
                   py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  StatFileOptions wanted;
  Options(given).take("follow_link", wanted.follow_link);
  Call call(timeout, cancel);
  return describe(vm.use(
      call, [&](Vm& v, const CallLimits& limits) { return v.stat_file(path, wanted, limits); }));
}

py::list list_files(const VmHandle& vm, py::handle given_path, const py::dict& given,
                    py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  ListFilesOptions wanted;
  Options(given).take("max_entries", wanted.max_entries);
  Call call(timeout, cancel);
  return describe(vm.use(
      call, [&](Vm& v, const CallLimits& limits) { return v.list_files(path, wanted, limits); }));
}

void make_directory(const VmHandle& vm, py::handle given_path, const py::dict& given,
                    py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const Options options(given);
  MakeDirectoryOptions wanted;
  options.take("mode", wanted.mode);
  options.take("owner", wanted.owner);
  options.take("parents", wanted.parents);
  Call call(timeout, cancel);
  vm.use(call,
         [&](Vm& v, const CallLimits& limits) { return v.make_directory(path, wanted, limits); });
}

void remove_file(const VmHandle& vm, py::handle given_path, const py::dict& given,
                 py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  RemoveFileOptions wanted;
  Options(given).take("recursive", wanted.recursive);
  Call call(timeout, cancel);
  vm.use(call,
         [&](Vm& v, const CallLimits& limits) { return v.remove_file(path, wanted, limits); });
}

void rename_file(const VmHandle& vm, py::handle given_path, py::handle given_new,
                 const py::dict& given, py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  const std::string new_path = to_text("new_path", given_new);
  RenameFileOptions wanted;
  Options(given).take("replace", wanted.replace);
  Call call(timeout, cancel);
  vm.use(call, [&](Vm& v, const CallLimits& limits) {
    return v.rename_file(path, new_path, wanted, limits);
  });
}

}  // namespace

void bind_vm_files(Bound<Vm>& vm) {
  vm.def("read_file", &read_file)
      .def("read_file_to", &read_file_to)
      .def("write_file", &write_content<&Vm::write_file>)
      .def("write_file_from", &write_file_from)
      .def("append_file", &write_content<&Vm::append_file>)
      .def("stat_file", &stat_file)
      .def("list_files", &list_files)
      .def("make_directory", &make_directory)
      .def("remove_file", &remove_file)
      .def("rename_file", &rename_file);
}

}  // namespace microvm::python
