#include "net/control/rule_judge.hpp"

#include <algorithm>

namespace microvm::net {
namespace {

bool is_in(const wire::NetEndpoint& remote, const wire::NetworkRule& rule) {
  for (unsigned bit = 0; bit < rule.prefix_bits; ++bit) {
    const unsigned mask = 0x80u >> bit % 8;
    if (((remote.address[bit / 8] ^ rule.address[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

bool fits(const wire::NetworkRule& rule, wire::FlowProtocol protocol,
          const wire::NetEndpoint& remote) {
  if (rule.protocol != wire::FlowProtocol::any && rule.protocol != protocol) return false;
  const bool port = rule.ports.empty() || std::ranges::any_of(rule.ports, [&](const auto& range) {
                      return range.first <= remote.port && remote.port <= range.last;
                    });
  return port && (rule.target == wire::NetworkRule::Target::any ||
                  (rule.target == wire::NetworkRule::Target::prefix && is_in(remote, rule)));
}

}  // namespace

Judgement RuleJudge::judge(wire::FlowProtocol protocol, const wire::NetEndpoint& remote) {
  const auto rule = std::ranges::find_if(
      setup_.rules, [&](const auto& each) { return fits(each, protocol, remote); });
  const bool allowed = rule != setup_.rules.end() ? rule->verdict == wire::Verdict::allow
                                                  : setup_.otherwise == wire::Otherwise::allow;
  return {allowed ? Judgement::Answer::allow : Judgement::Answer::refuse,
          rule != setup_.rules.end() ? rule->text : "no rule",
          {}};
}

NameAnswer RuleJudge::judge_first_bytes(const wire::NetEndpoint&, FrameView, Judgement&) {
  return NameAnswer::refuse;
}

}  // namespace microvm::net
