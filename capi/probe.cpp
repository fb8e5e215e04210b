// What this host can do.
#include "microvm/probe.hpp"

#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_FINDING_PROBLEM == value_of(Finding::State::problem));
static_assert(MVM_PROBE_STEP_SKIPPED == value_of(ProbeStep::State::skipped));

ProbeOptions to_cpp(const Call& /*call*/, const mvm_probe_options& given) {
  return {.data_dir = Call::text_or_empty(given.data_dir)};
}

DeepProbeOptions to_cpp(const Call& /*call*/, const mvm_deep_probe_options& given) {
  DeepProbeOptions options;
  options.data_dir = Call::text_or_empty(given.data_dir);
  options.kernel_deb = Call::text_or_empty(given.kernel_deb);
  options.scratch_dir = Call::text_or_empty(given.scratch_dir);
  set_unless_zero(options.clones, given.clones);
  set_unless_zero(options.suspends, given.suspends);
  options.progress = progress_sink(given.progress, given.progress_user);
  return options;
}

void fill(Packer& packer, mvm_finding& to, const Finding& from) {
  to.state = value_of(from.state);
  to.name = packer.text(from.name);
  to.is = packer.text(from.is);
  to.advice = packer.text(from.advice);
  to.cost = packer.text(from.cost);
}

void fill(Packer& packer, mvm_probe_step& to, const ProbeStep& from) {
  to.state = value_of(from.state);
  to.name = packer.text(from.name);
  to.detail = packer.text(from.detail);
  to.count = from.count;
  to.p50_ms = from.p50_ms;
  to.most_ms = from.most_ms;
}

void fill(Packer& packer, mvm_deep_report& to, const DeepReport& from) {
  to.passed = from.passed() ? 1 : 0;
  to.cpu_model = packer.text(from.cpu_model);
  to.microcode = packer.text(from.microcode);
  to.memory_bytes = from.memory_bytes;
  to.kernel = packer.text(from.kernel);
  to.kvm_parameters = packer.pairs(from.kvm_parameters);
  to.kvm_parameters_count = from.kvm_parameters.size();
  to.findings = packer.items<mvm_finding>(from.findings);
  to.findings_count = from.findings.size();
  to.steps = packer.items<mvm_probe_step>(from.steps);
  to.steps_count = from.steps.size();
  to.took_ms = from.took_ms;
  to.cpus = from.cpus;
}

}  // namespace microvm::capi

mvm_status mvm_probe_host(const mvm_probe_options* options, const mvm_limits* limits,
                          mvm_finding_list** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(microvm::probe_host(call.options(options), call.limits(limits)));
  });
}

mvm_status mvm_probe_kvm(const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return microvm::probe_kvm(call.limits(limits)); });
}

mvm_status mvm_deep_probe(const mvm_deep_probe_options* options, const mvm_limits* limits,
                          mvm_deep_report** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(microvm::deep_probe(call.options(options), call.limits(limits)));
  });
}

const char* mvm_finding_state_name(mvm_finding_state state) {
  return microvm::finding_state_name(static_cast<microvm::Finding::State>(state));
}

const char* mvm_probe_step_state_name(mvm_probe_step_state state) {
  return microvm::probe_step_state_name(static_cast<microvm::ProbeStep::State>(state));
}
