// The policy as flows ask it.
#pragma once

#include "net/flow/judge.hpp"
#include "wire/network_setup.hpp"

namespace microvm::net {

class RuleJudge final : public Judge {
 public:
  explicit RuleJudge(wire::NetworkSetup setup) : setup_(std::move(setup)) {}
  Judgement judge(wire::FlowProtocol protocol, const wire::NetEndpoint& remote) override;
  NameAnswer judge_first_bytes(const wire::NetEndpoint& remote, FrameView bytes,
                               Judgement& about) override;

 private:
  wire::NetworkSetup setup_;
};

}  // namespace microvm::net
