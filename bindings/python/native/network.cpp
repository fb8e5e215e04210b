// A Vm's network: its options, what is told of it, its flows.
#include "streams.hpp"
#include "vm_handle.hpp"

namespace microvm::python {

using py::literals::operator""_a;

namespace {

using VmHandle = Handle<Vm>;
using FlowHandle = Handle<FlowStream>;

template <class Enum>
void take_word(const Options& options, const char* name, std::initializer_list<Enum> values,
               const char* (*name_of)(Enum) noexcept, Enum& out) {
  std::string word;
  options.take(name, word);
  if (word.empty()) return;
  for (const Enum value : values) {
    if (word != name_of(value)) continue;
    out = value;
    return;
  }
  wrong_value(name, "is no value of it: " + word);
}

void take_tap(const Options& options, TapOptions& out) {
  uint32_t fd = UINT32_MAX;
  options.take("fd", fd);
  if (fd != UINT32_MAX) out.fd = static_cast<int>(std::min<uint32_t>(fd, INT32_MAX));
  options.take("name", out.name);
  options.take("addresses", out.addresses);
  options.take("gateways", out.gateways);
  options.take("dns", out.dns);
  options.take("mac", out.mac);
}

// The fields of a dataclass of the package.
Options fields_of(const char* name, py::handle value, const char* one_of_them) {
  if (!py::hasattr(value, one_of_them)) wrong_type(name, "of libmicrovm's types for it", value);
  return Options(value.attr("__dict__").cast<py::dict>());
}

void take_policy(const Options& options, NetworkPolicy& out) {
  take_word(options, "otherwise",
            {NetworkDefault::internet, NetworkDefault::allow, NetworkDefault::deny},
            &network_default_name, out.otherwise);
  options.take("rules", out.rules);
  options.take("bytes_per_second", out.bytes_per_second);
  options.take("flows_per_second", out.flows_per_second);
  options.take("open_flows", out.open_flows);
}

py::dict network(const VmHandle& vm, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  const auto info = vm.use(call, [](Vm& v, const CallLimits& limits) { return v.network(limits); });
  py::list rules;
  for (const std::string& rule : info.policy.rules) rules.append(text(rule));
  return py::dict("mode"_a = network_mode_name(info.mode),
                  "policy"_a = py::dict("otherwise"_a = network_default_name(info.policy.otherwise),
                                        "rules"_a = py::tuple(rules),
                                        "bytes_per_second"_a = info.policy.bytes_per_second,
                                        "flows_per_second"_a = info.policy.flows_per_second,
                                        "open_flows"_a = info.policy.open_flows),
                  "tap"_a = text(info.tap), "mac"_a = text(info.mac),
                  "is_running"_a = info.is_running, "counters"_a = describe(info.counters));
}

void set_network_policy(const VmHandle& vm, py::handle given, py::handle timeout,
                        py::handle cancel) {
  NetworkPolicy policy;
  if (!given.is_none()) take_policy(fields_of("policy", given, "otherwise"), policy);
  Call call(timeout, cancel);
  vm.use(call,
         [&](Vm& v, const CallLimits& limits) { return v.set_network_policy(policy, limits); });
}

std::unique_ptr<FlowHandle> flows(const VmHandle& vm, py::handle timeout, py::handle cancel) {
  Call call(timeout, cancel);
  auto stream = vm.use(call, [](Vm& v, const CallLimits& limits) { return v.flows(limits); });
  return std::make_unique<FlowHandle>("the FlowStream", std::move(stream), vm.family());
}

}  // namespace

void read_network_options(py::handle value, NetworkOptions& out) {
  const Options options = fields_of("network", value, "mode");
  take_word(options, "mode",
            {NetworkMode::automatic, NetworkMode::none, NetworkMode::user, NetworkMode::tap},
            &network_mode_name, out.mode);
  if (const auto policy = options.find("policy"); !policy.is_none()) {
    take_policy(fields_of("policy", policy, "otherwise"), out.policy);
  }
  if (const auto tap = options.find("tap"); !tap.is_none()) {
    take_tap(fields_of("tap", tap, "addresses"), out.tap);
  }
}

py::dict describe(const NetworkCounters& counters) {
  return py::dict("packets_from_guest"_a = counters.packets_from_guest,
                  "packets_to_guest"_a = counters.packets_to_guest,
                  "packets_dropped"_a = counters.packets_dropped,
                  "bytes_from_guest"_a = counters.bytes_from_guest,
                  "bytes_to_guest"_a = counters.bytes_to_guest, "flows"_a = counters.flows,
                  "flows_open"_a = counters.flows_open,
                  "flows_refused_by_rule"_a = counters.flows_refused_by_rule,
                  "flows_refused_by_limit"_a = counters.flows_refused_by_limit,
                  "flows_failed"_a = counters.flows_failed, "dns_queries"_a = counters.dns_queries,
                  "dns_failed"_a = counters.dns_failed);
}

py::dict describe(const FlowRecord& flow) {
  return py::dict("time"_a = text(flow.time), "kind"_a = flow_kind_name(flow.kind),
                  "protocol"_a = text(flow.protocol), "address"_a = text(flow.address),
                  "port"_a = flow.port, "name"_a = text(flow.name), "reason"_a = text(flow.reason),
                  "bytes_from_guest"_a = flow.bytes_from_guest,
                  "bytes_to_guest"_a = flow.bytes_to_guest, "lost"_a = flow.lost);
}

void bind_flow_stream(py::module_& module) {
  Bound<FlowStream> bound(module, "FlowStream");
  bound
      .def("next",
           [](const FlowHandle& f, py::handle timeout, py::handle cancel) {
             return describe(
                 stream_call<&FlowStream::try_next, &FlowStream::next>(f, timeout, cancel));
           })
      .def("try_next",
           [](const FlowHandle& f) { return describe(now_call<&FlowStream::try_next>(f)); })
      .def("fd", [](const FlowHandle& f) { return peek<&FlowStream::fd>(f); });
  bind_closing(bound);
}

void bind_vm_network(Bound<Vm>& vm) {
  vm.def("network", &network).def("set_network_policy", &set_network_policy).def("flows", &flows);
}

}  // namespace microvm::python
