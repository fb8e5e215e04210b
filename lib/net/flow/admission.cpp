#include "net/flow/admission.hpp"

#include <cstring>

namespace microvm::net {

FlowPlace::FlowPlace(Admission& admission) : admission_(&admission) {
  ++admission_->status_.flows_open;
}

FlowPlace::~FlowPlace() {
  if (admission_ != nullptr) --admission_->status_.flows_open;
}

Admission::Admission(Judge& judge, FlowLog& log, wire::NetStatus& status)
    : judge_(judge),
      log_(log),
      status_(status),
      new_flows_(judge.limits().flows_per_second, judge.limits().flows_per_second,
                 TokenBucket::Time::clock::now()) {}

void Admission::renew_limits() {
  const uint64_t rate = judge_.limits().flows_per_second;
  new_flows_.set_limit(rate, rate, TokenBucket::Time::clock::now());
}

std::optional<Admitted> Admission::admit(wire::FlowProtocol protocol,
                                         const wire::NetEndpoint& remote) {
  Admitted flow{judge_.facts_of(protocol, remote), {}, {}};
  flow.ruling = judge_.judge(flow.facts);
  if (flow.ruling.verdict == Ruling::Verdict::deny) {
    refused_by_rule(flow);
  } else if (!has_room()) {
    refused_by_limit(flow, "limit of open flows");
  } else if (!new_flows_.take(1, TokenBucket::Time::clock::now())) {
    refused_by_limit(flow, "limit of new flows per second");
  } else {
    flow.place = FlowPlace(*this);
    return flow;
  }
  return {};
}

bool Admission::judge_shown(Admitted& flow) const {
  flow.ruling = judge_.judge(flow.facts);
  return flow.ruling.verdict != Ruling::Verdict::deny;
}

bool Admission::judge_again(Admitted& flow) const {
  const Ruling now = flow.ruling.verdict == Ruling::Verdict::needs_name
                         ? judge_.judge(flow.facts)
                         : judge_.judge_again(flow.facts);
  const bool allowed = now.verdict != Ruling::Verdict::deny;
  // Who waits for a name is judged by it then, whatever is certain now.
  if (!allowed) flow.ruling = now;
  return allowed;
}

void Admission::refused_by_rule(const Admitted& flow) {
  ++status_.flows_refused_by_rule;
  log_.tell(wire::FlowRecord::What::refused, flow.facts, flow.ruling.reason);
}

void Admission::refused_by_limit(const Admitted& flow, const char* limit) {
  ++status_.flows_refused_by_limit;
  log_.tell(wire::FlowRecord::What::refused, flow.facts, limit);
}

void Admission::failed(const Admitted& flow, int error) {
  ++status_.flows_failed;
  log_.tell(wire::FlowRecord::What::failed, flow.facts, std::strerror(error));
}

void Admission::opened(const Admitted& flow) {
  ++status_.flows;
  log_.tell(wire::FlowRecord::What::opened, flow.facts, flow.ruling.reason);
}

void Admission::ended(const Admitted& flow, FlowBytes bytes) {
  log_.tell(wire::FlowRecord::What::ended, flow.facts, flow.ruling.reason, bytes);
}

void Admission::count(FlowBytes moved) {
  status_.bytes_from_guest += moved.from_guest;
  status_.bytes_to_guest += moved.to_guest;
}

}  // namespace microvm::net
