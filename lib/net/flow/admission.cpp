#include "net/flow/admission.hpp"

#include <algorithm>
#include <cstring>

namespace microvm::net {

FlowPlace::FlowPlace(Admission& admission) : admission_(&admission) {
  ++admission_->status_.flows_open;
}

FlowPlace::~FlowPlace() {
  if (admission_ != nullptr) --admission_->status_.flows_open;
}

std::optional<Admitted> Admission::admit(wire::FlowProtocol protocol,
                                         const wire::NetEndpoint& remote) {
  Judgement judgement = judge_.judge(protocol, remote);
  if (judgement.answer == Judgement::Answer::refuse) {
    refused_by_rule(protocol, remote, judgement);
    return {};
  }
  if (!has_room()) {
    refused_by_limit(protocol, remote, std::move(judgement), "limit of open flows");
    return {};
  }
  if (is_too_soon()) {
    refused_by_limit(protocol, remote, std::move(judgement), "limit of new flows per second");
    return {};
  }
  return Admitted{std::move(judgement), FlowPlace(*this)};
}

bool Admission::may_stay(const Admitted&, wire::FlowProtocol protocol,
                         const wire::NetEndpoint& remote) {
  return judge_.judge(protocol, remote).answer != Judgement::Answer::refuse;
}

bool Admission::is_too_soon() {
  if (limits_.flows_per_second == 0) return false;
  const auto now = std::chrono::steady_clock::now();
  const double rate = limits_.flows_per_second;
  const double passed = std::chrono::duration<double>(now - new_flows_at_).count();
  new_flows_left_ = std::min(rate, new_flows_left_ + passed * rate);
  new_flows_at_ = now;
  if (new_flows_left_ < 1) return true;
  new_flows_left_ -= 1;
  return false;
}

void Admission::refused_by_rule(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                                const Judgement& judgement) {
  ++status_.flows_refused_by_rule;
  log_.tell(wire::FlowRecord::What::refused, protocol, remote, judgement);
}

void Admission::refused_by_limit(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                                 Judgement judgement, const char* limit) {
  ++status_.flows_refused_by_limit;
  judgement.reason = limit;
  log_.tell(wire::FlowRecord::What::refused, protocol, remote, judgement);
}

void Admission::failed(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                       Judgement judgement, int error) {
  ++status_.flows_failed;
  judgement.reason = std::strerror(error);
  log_.tell(wire::FlowRecord::What::failed, protocol, remote, judgement);
}

void Admission::opened(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                       const Judgement& judgement) {
  ++status_.flows;
  log_.tell(wire::FlowRecord::What::opened, protocol, remote, judgement);
}

void Admission::ended(wire::FlowProtocol protocol, const wire::NetEndpoint& remote,
                      const Judgement& judgement, FlowBytes bytes) {
  log_.tell(wire::FlowRecord::What::ended, protocol, remote, judgement, bytes);
}

void Admission::count(FlowBytes moved) {
  status_.bytes_from_guest += moved.from_guest;
  status_.bytes_to_guest += moved.to_guest;
}

}  // namespace microvm::net
