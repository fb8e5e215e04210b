// What is told of flows to whoever follows them.
#pragma once

#include <functional>

#include "net/flow/judge.hpp"

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

  void tell(wire::FlowRecord::What what, wire::FlowProtocol protocol,
            const wire::NetEndpoint& remote, const Judgement& judgement, FlowBytes bytes = {});

 private:
  Receiver receiver_;
};

}  // namespace microvm::net
