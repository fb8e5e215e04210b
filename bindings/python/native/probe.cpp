// What this host can do.
#include "microvm/probe.hpp"

#include "bindings.hpp"
#include "callbacks.hpp"
#include "values.hpp"

namespace microvm::python {

namespace {

py::dict describe_step(const ProbeStep& step) {
  return py::dict("name"_a = text(step.name), "state"_a = probe_step_state_name(step.state),
                  "detail"_a = text(step.detail), "count"_a = step.count, "p50_ms"_a = step.p50_ms,
                  "most_ms"_a = step.most_ms);
}

py::dict describe_report(const DeepReport& report) {
  py::dict parameters;
  for (const auto& [name, value] : report.kvm_parameters) parameters[text(name)] = text(value);
  py::list steps;
  for (const ProbeStep& step : report.steps) steps.append(describe_step(step));
  return py::dict("cpu_model"_a = text(report.cpu_model), "microcode"_a = text(report.microcode),
                  "cpus"_a = report.cpus, "memory_bytes"_a = report.memory_bytes,
                  "kernel"_a = text(report.kernel), "kvm_parameters"_a = parameters,
                  "findings"_a = describe(report.findings), "steps"_a = steps,
                  "took_ms"_a = report.took_ms, "passed"_a = report.passed());
}

py::list look_at_host(const py::dict& given, py::handle timeout, py::handle cancel) {
  ProbeOptions wanted;
  Options(given).take("data_dir", wanted.data_dir);
  Call call(timeout, cancel);
  return describe(call.run([&](const CallLimits& limits) { return probe_host(wanted, limits); }));
}

void look_at_kvm(py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  call.run([](const CallLimits& limits) { return probe_kvm(limits); });
}

py::dict try_host(const py::dict& given, py::handle timeout, py::handle cancel) {
  const Options options(given);
  DeepProbeOptions wanted;
  options.take("data_dir", wanted.data_dir);
  options.take("kernel_deb", wanted.kernel_deb);
  options.take("scratch_dir", wanted.scratch_dir);
  options.take("clones", wanted.clones);
  options.take("suspends", wanted.suspends);
  Call call(timeout, cancel);
  const py::object progress = options.find("progress");
  wanted.progress = progress_sink(call, progress);
  return describe_report(
      call.run([&](const CallLimits& limits) { return deep_probe(wanted, limits); }));
}

}  // namespace

void bind_probe(py::module_& module) {
  module.def("probe_host", &look_at_host);
  module.def("probe_kvm", &look_at_kvm);
  module.def("deep_probe", &try_host);
}

}  // namespace microvm::python
