// Networks: what they are told to be, what is told of them, and mvm_flow_stream.
#include "microvm/network.hpp"

#include "infos.hpp"
#include "options.hpp"

using microvm::capi::Call;
using microvm::capi::enter;

namespace microvm::capi {

static_assert(MVM_NETWORK_TAP == value_of(NetworkMode::tap));
static_assert(MVM_NETWORK_DEFAULT_DENY == value_of(NetworkDefault::deny));
static_assert(MVM_FLOW_NAME == value_of(FlowRecord::Kind::name));

NetworkPolicy to_cpp(const Call& call, const mvm_network_policy& given) {
  NetworkPolicy policy;
  policy.otherwise = call.value(given.otherwise, NetworkDefault::deny, "otherwise");
  policy.rules = call.texts(given.rules, given.rules_count, "rules");
  policy.bytes_per_second = given.bytes_per_second;
  policy.flows_per_second = given.flows_per_second;
  set_unless_zero(policy.open_flows, given.open_flows);
  return policy;
}

TapOptions to_cpp(const Call& call, const mvm_tap_options& given) {
  TapOptions tap;
  set_unless_zero(tap.fd, given.fd);
  tap.name = Call::text_or_empty(given.name);
  tap.addresses = call.texts(given.addresses, given.addresses_count, "addresses");
  tap.gateways = call.texts(given.gateways, given.gateways_count, "gateways");
  tap.dns = call.texts(given.dns, given.dns_count, "dns");
  tap.mac = Call::text_or_empty(given.mac);
  return tap;
}

NetworkOptions to_cpp(const Call& call, const mvm_network_options& given) {
  return {.mode = call.value(given.mode, NetworkMode::tap, "mode"),
          .policy = call.options(given.policy),
          .tap = call.options(given.tap)};
}

void fill(Packer& packer, mvm_network_policy& to, const NetworkPolicy& from) {
  to.otherwise = value_of(from.otherwise);
  to.rules = packer.texts(from.rules);
  to.rules_count = from.rules.size();
  to.bytes_per_second = from.bytes_per_second;
  to.flows_per_second = from.flows_per_second;
  to.open_flows = from.open_flows;
}

void fill(Packer& /*packer*/, mvm_network_counters& to, const NetworkCounters& from) {
  to.packets_from_guest = from.packets_from_guest;
  to.packets_to_guest = from.packets_to_guest;
  to.packets_dropped = from.packets_dropped;
  to.bytes_from_guest = from.bytes_from_guest;
  to.bytes_to_guest = from.bytes_to_guest;
  to.flows = from.flows;
  to.flows_open = from.flows_open;
  to.flows_refused_by_rule = from.flows_refused_by_rule;
  to.flows_refused_by_limit = from.flows_refused_by_limit;
  to.flows_failed = from.flows_failed;
  to.dns_queries = from.dns_queries;
  to.dns_failed = from.dns_failed;
}

void fill(Packer& packer, mvm_network_info& to, const NetworkInfo& from) {
  to.mode = value_of(from.mode);
  to.policy = packer.item<mvm_network_policy>(from.policy);
  to.tap = packer.text(from.tap);
  to.mac = packer.text(from.mac);
  to.counters = packer.item<mvm_network_counters>(from.counters);
  to.is_running = from.is_running ? 1 : 0;
}

void fill(Packer& packer, mvm_flow_record& to, const FlowRecord& from) {
  to.kind = value_of(from.kind);
  to.time = packer.text(from.time);
  to.protocol = packer.text(from.protocol);
  to.address = packer.text(from.address);
  to.name = packer.text(from.name);
  to.reason = packer.text(from.reason);
  to.bytes_from_guest = from.bytes_from_guest;
  to.bytes_to_guest = from.bytes_to_guest;
  to.lost = from.lost;
  to.port = from.port;
}

}  // namespace microvm::capi

const char* mvm_network_mode_name(mvm_network_mode mode) {
  return microvm::network_mode_name(static_cast<microvm::NetworkMode>(mode));
}

const char* mvm_network_default_name(mvm_network_default otherwise) {
  return microvm::network_default_name(static_cast<microvm::NetworkDefault>(otherwise));
}

const char* mvm_flow_kind_name(mvm_flow_kind kind) {
  return microvm::flow_kind_name(static_cast<microvm::FlowRecord::Kind>(kind));
}

mvm_status mvm_vm_network(mvm_vm* vm, const mvm_limits* limits, mvm_network_info** out,
                          mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.out(out).take(call.use(vm)->network(call.limits(limits)));
  });
}

mvm_status mvm_vm_set_network_policy(mvm_vm* vm, const mvm_network_policy* policy,
                                     const mvm_limits* limits, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.use(vm)->set_network_policy(call.options(policy), call.limits(limits));
  });
}

mvm_status mvm_vm_flows(mvm_vm* vm, const mvm_limits* limits, mvm_flow_stream** out,
                        mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    return call.handle(out).take(call.use(vm)->flows(call.limits(limits)));
  });
}

mvm_status mvm_flow_stream_next(mvm_flow_stream* stream, const mvm_limits* limits,
                                mvm_flow_record** out, mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->next(call.limits(limits)));
  });
}

mvm_status mvm_flow_stream_try_next(mvm_flow_stream* stream, mvm_flow_record** out,
                                    mvm_error** err) {
  return enter(__func__, err, [&](const Call& call) {
    const auto self = call.use(stream);
    const auto reading = call.reading(self);
    return call.out(out).take(self->try_next());
  });
}

mvm_status mvm_flow_stream_fd(mvm_flow_stream* stream, int32_t* out, mvm_error** err) {
  return enter(__func__, err,
               [&](const Call& call) { return call.set(out, call.use(stream)->fd()); });
}

void mvm_flow_stream_free(mvm_flow_stream* stream) {
  microvm::capi::free_handle(stream);
}
