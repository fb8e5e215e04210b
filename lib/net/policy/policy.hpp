// What a microVM may reach: the rules, and the verdict about a flow. The first rule that fits
// counts. A rule with a domain fits by two things together: the address is known to the guest by
// such a name (LearnedNames: the resolver told it so), and the flow shows such a name.
//
//   allow DOMAIN   only addresses that the default would allow (leaves_to_internet): whoever owns
//                  the domain must not be able to open 127.0.0.1, the host or its network by an
//                  answer. Where that is wanted, a rule with the address says so.
//   deny DOMAIN    whatever the address, by the name that is shown; of what shows none, by the
//                  address.
//
// What can show no name (UDP, or TCP that is neither TLS nor HTTP) is allowed by the address alone
// where the rule names the ports and none of them is one of the web's: there many names have one
// server. QUIC's name can not be read: `allow udp DOMAIN:443` says that the address is enough.
// An echo request (ICMP) needs no name.
#pragma once

#include <string>
#include <vector>

#include "net/names/shown_name.hpp"
#include "net/policy/address.hpp"
#include "wire/network_setup.hpp"

namespace microvm::net {

// A flow as far as it is known.
struct FlowFacts {
  wire::FlowProtocol protocol = wire::FlowProtocol::tcp;
  Address address{};  // that the guest wants
  uint16_t port = 0;
  // By which the guest knew the address when the flow began, canonical. They stay with an open
  // flow: it is not over because an answer is.
  std::vector<std::string> known_as;
  ShownName shown;  // TCP
};

struct Ruling {
  // needs_name: it depends on what the flow shows. It may be let in, but nothing of it may go out
  // before it is judged again with what it shows.
  enum class Verdict : uint8_t { deny, allow, needs_name };

  Verdict verdict = Verdict::deny;
  // The rule that counted, as it was written; of needs_name, the first that may. "otherwise" if
  // none did.
  std::string reason;
};

class Policy {
 public:
  explicit Policy(wire::NetworkSetup setup) : setup_(std::move(setup)) {}

  [[nodiscard]] Ruling judge(const FlowFacts& flow, const HostAddresses& host) const;
  // Of a flow whose first bytes have gone out: if it depends on a name that nobody has looked at,
  // it is over.
  [[nodiscard]] Ruling judge_again(const FlowFacts& flow, const HostAddresses& host) const;

  // Whether any verdict depends on names.
  [[nodiscard]] bool has_domains() const;
  [[nodiscard]] const wire::NetworkLimits& limits() const { return setup_.limits; }

 private:
  wire::NetworkSetup setup_;
};

}  // namespace microvm::net
