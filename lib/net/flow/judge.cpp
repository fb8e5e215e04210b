#include "net/flow/judge.hpp"

namespace microvm::net {

FlowFacts Judge::facts_of(wire::FlowProtocol protocol, const wire::NetEndpoint& remote) {
  FlowFacts facts;
  facts.protocol = protocol;
  facts.address = remote.address;
  facts.port = remote.port;
  facts.known_as = learned_.names_of(remote.address, LearnedNames::Time::clock::now());
  return facts;
}

}  // namespace microvm::net
