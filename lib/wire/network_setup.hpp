// What a microVM may reach, as microvm-net is told: the library compiles the embedder's rules to
// this. A file of the Vm's directory (kNetworkFile) holds it; it is read when microvm-net starts,
// and again when it is told of a change.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::wire {

inline constexpr const char* kNetworkFile = "network";
inline constexpr size_t kMaxNetworkRules = 1024;
inline constexpr size_t kMaxRulePorts = 32;
inline constexpr size_t kMaxRuleText = 512;
inline constexpr size_t kMaxDomainBytes = 253;
inline constexpr size_t kMaxNetworkSetupBytes = size_t{2} << 20;
inline constexpr uint32_t kMaxOpenFlows = 16'384;

enum class Verdict : uint8_t { deny = 0, allow = 1 };
enum class FlowProtocol : uint8_t { any = 0, tcp = 1, udp = 2, icmp = 3 };

// Of what no rule says anything about. internet: whatever is not loopback, the host's own,
// link-local, private, CGNAT, multicast or reserved.
enum class Otherwise : uint8_t { internet = 0, allow = 1, deny = 2 };

// Sets of addresses that have a word.
enum class AddressGroup : uint8_t {
  loopback = 0,
  host = 1,  // any address of the host itself
  link_local = 2,
  private_use = 3,  // RFC 1918, unique local
  internet = 4,     // what Otherwise::internet allows
};

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 65'535;
};

struct NetworkRule {
  enum class Target : uint8_t { any = 0, prefix = 1, domain = 2, subdomains = 3, group = 4 };

  Verdict verdict = Verdict::deny;
  FlowProtocol protocol = FlowProtocol::any;
  Target target = Target::any;
  std::array<uint8_t, 16> address{};  // of the prefix; IPv4 as ::ffff:a.b.c.d
  uint8_t prefix_bits = 0;            // of the 128
  std::string domain;                 // lower-case A-labels, no dot at the end; subdomains: of this
  AddressGroup group = AddressGroup::loopback;
  std::vector<PortRange> ports;  // none: all. ICMP has none
  std::string text;              // as it was written, for who reads the log
};

struct NetworkLimits {
  uint64_t bytes_per_second = 0;  // both directions together; 0: no limit
  uint32_t flows_per_second = 0;  // new ones; 0: no limit
  uint32_t open_flows = 1024;
};

struct NetworkSetup {
  Otherwise otherwise = Otherwise::internet;
  std::vector<NetworkRule> rules;  // the first that fits counts
  NetworkLimits limits;
};

[[nodiscard]] Bytes encode_network_setup(const NetworkSetup& setup);
// Errors: corrupt, unsupported (a newer version).
[[nodiscard]] Result<NetworkSetup> decode_network_setup(ByteView bytes);

}  // namespace microvm::wire
