// What is told of flows to whoever follows them.
#pragma once

#include <functional>
#include <string>

#include "net/policy/policy.hpp"
#include "wire/net.hpp"

namespace microvm::net {

struct FlowBytes {
  uint64_t from_guest = 0;
  uint64_t to_guest = 0;
};

class FlowLog {
 public:
  using Receiver = std::function<void(wire::FlowRecord)>;
  // Empty: nobody follows, and nothing is put together.
  void set_receiver(Receiver receiver) { receiver_ = std::move(receiver); }

  void tell(wire::FlowRecord::What what, const FlowFacts& facts, const std::string& reason,
            FlowBytes bytes = {});

 private:
  Receiver receiver_;
};

}  // namespace microvm::net
