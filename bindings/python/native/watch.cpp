// Watch: what happens to files of a guest.
#include "streams.hpp"

namespace microvm::python {

namespace {

using VmHandle = Handle<Vm>;
using WatchHandle = Handle<Watch>;

std::unique_ptr<WatchHandle> watch(const VmHandle& vm, py::handle given_path, const py::dict& given,
                                   py::handle timeout, py::handle cancel) {
  const std::string path = to_text("path", given_path);
  WatchOptions wanted;
  Options(given).take("recursive", wanted.recursive);
  Call call(timeout, cancel);
  auto made =
      vm.use(call, [&](Vm& v, const CallLimits& limits) { return v.watch(path, wanted, limits); });
  return std::make_unique<WatchHandle>("the Watch", std::move(made), vm.family());
}

}  // namespace

void bind_vm_watch(Bound<Vm>& vm) {
  vm.def("watch", &watch);
}

void bind_watch(py::module_& module) {
  Bound<Watch> bound(module, "Watch");
  bound
      .def("next",
           [](const WatchHandle& w, py::handle timeout, py::handle cancel) {
             return describe(stream_call<&Watch::try_next, &Watch::next>(w, timeout, cancel));
           })
      .def("try_next", [](const WatchHandle& w) { return describe(now_call<&Watch::try_next>(w)); })
      .def("fd", [](const WatchHandle& w) { return peek<&Watch::fd>(w); });
  bind_closing(bound);
}

}  // namespace microvm::python
