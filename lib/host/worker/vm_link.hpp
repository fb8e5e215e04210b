// How sessions reach the agent of one Vm: through its worker.
#pragma once

#include <memory>
#include <string>

#include "host/session/agent_client.hpp"
#include "host/worker/control_client.hpp"

namespace microvm::host {

class VmLink : public AgentLink {
 public:
  explicit VmLink(std::shared_ptr<ControlClient> client) : client_(std::move(client)) {}

  Result<base::Fd> open(const Limits& limits) override {
    auto ahead = client_->take_ahead(limits, kReach);
    if (!ahead || (ahead->valid() && is_quiet(ahead->get()))) return ahead;
    return client_->call_for_stream(wire::ConnectRequest{wire::kAgentOperationPort}, limits,
                                    kReach);
  }
  Error broken(std::string_view what) override { return client_->explain(what); }
  [[nodiscard]] bool over() const override { return client_->ended() || client_->ending(); }

 private:
  static constexpr std::string_view kReach = "reach the guest's agent";

  std::shared_ptr<ControlClient> client_;
};

}  // namespace microvm::host
