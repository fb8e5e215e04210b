// What the library gives, as dicts of the fields' names; libmicrovm.values makes its classes of
// them.
#pragma once

#include <pybind11/pybind11.h>

#include <span>
#include <string>
#include <vector>

#include "microvm/checkpoint.hpp"
#include "microvm/event.hpp"
#include "microvm/exec.hpp"
#include "microvm/files.hpp"
#include "microvm/image.hpp"
#include "microvm/probe.hpp"
#include "microvm/prune.hpp"
#include "microvm/pty.hpp"
#include "microvm/vm.hpp"
#include "microvm/watch.hpp"

namespace microvm::python {

namespace py = pybind11;

// UTF-8; what is none becomes lone surrogates, as in os.fsdecode().
py::str text(std::string_view bytes);
py::bytes bytes(std::span<const std::byte> data);
py::str path_text(const std::filesystem::path& path);

py::dict describe(const KernelInfo& info);
py::dict describe(const BaseInfo& info);
py::dict describe(const Hooks& hooks);
py::dict describe(const ImageConfig& config);
py::dict describe(const ImageInfo& info);
py::dict describe(const Progress& progress);
py::dict describe(const CheckpointInfo& info);
py::dict describe(const PruneReport& report);
py::dict describe(const VmEvent& event);

py::dict describe(const VmInfo& info);
py::dict describe(const VmEnding& ending);
py::dict describe(const LaunchTimes& times);
py::dict describe(const SuspendTimes& times);
py::dict describe(const VmCounters& counters);
py::dict describe(const NetworkCounters& counters);
py::dict describe(const FlowRecord& flow);
py::dict describe(const ExitStatus& status);
py::dict describe(const ExecInfo& info);
py::dict describe(const PtyInfo& info);
py::tuple describe(const PtySize& size);
py::dict describe(const FileInfo& info);
py::dict describe(const FileEvent& event);
py::dict describe(const TransferTotals& totals);

py::dict describe(const Finding& finding);

template <class T>
py::list describe(const std::vector<T>& values) {
  py::list list;
  for (const T& value : values) list.append(describe(value));
  return list;
}
template <class T>
py::object describe(const std::optional<T>& value) {
  return value ? py::object(describe(*value)) : py::none();
}

}  // namespace microvm::python
