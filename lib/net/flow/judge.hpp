// Who decides about flows, as those see it that carry them.
#pragma once

#include <string>

#include "net/flow/packet.hpp"

namespace microvm::net {

struct Judgement {
  enum class Answer : uint8_t {
    refuse,
    allow,
    by_name,  // by what the guest says first: see judge_first_bytes()
  };
  Answer answer = Answer::refuse;
  std::string reason;  // the rule that counted
  std::string name;    // by which the guest knows the address
};

enum class NameAnswer : uint8_t { more, refuse, allow };

class Judge {
 public:
  virtual ~Judge() = default;

  [[nodiscard]] virtual Judgement judge(wire::FlowProtocol protocol,
                                        const wire::NetEndpoint& remote) = 0;
  // All that the guest has sent. Once it is not `more`, `about` has the reason, and the name.
  [[nodiscard]] virtual NameAnswer judge_first_bytes(const wire::NetEndpoint& remote,
                                                     FrameView bytes, Judgement& about) = 0;
};

}  // namespace microvm::net
