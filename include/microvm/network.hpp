// What a microVM reaches outside of it, and what goes there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "microvm/cancel.hpp"
#include "microvm/error.hpp"

namespace microvm {

enum class NetworkMode {
  automatic,  // user where the image has a network device, which those of before have not; else
              // none
  none,       // the guest's link is down
  user,       // each Vm in a network of its own, whose flows are made anew from this host; no root
  tap,        // a tap of the embedder's, who says what is behind it: no policy
};
MICROVM_API const char* network_mode_name(NetworkMode mode) noexcept;

// Of what no rule says anything about.
enum class NetworkDefault {
  internet,  // allowed, but for loopback, the host itself, link-local, private, CGNAT, multicast
  allow,
  deny,
};
MICROVM_API const char* network_default_name(NetworkDefault otherwise) noexcept;

// What a Vm may reach (mode user). Its resolver works whatever the rules are.
//
// A rule is a line, and the first that fits counts:
//   allow|deny [tcp|udp|icmp] TARGET[:PORTS]
//   TARGET  192.0.2.0/24, 192.0.2.7, 2001:db8::/32, [2001:db8::7], example.org, *.example.org
//           (below it, not itself), * (everything), and the words internet (what the default of
//           that name allows), private, loopback, link-local, host (the host's own addresses)
//   PORTS   443 or 80,443 or 8000-8100; behind an IPv6 address only if that is in brackets
// Domains: in their ASCII form (xn--…), upper and lower case are the same. Such a rule holds for
// addresses that the resolver has given the guest under that name, as long as that answer counts,
// and only for flows that name no other host (TLS server name, HTTP Host). At most 1,024 rules of
// 512 bytes; 32 ports or ranges of them in one.
struct NetworkPolicy {
  NetworkDefault otherwise = NetworkDefault::internet;
  std::vector<std::string> rules;
  uint64_t bytes_per_second = 0;  // both directions together; 0: no limit
  uint32_t flows_per_second = 0;  // new ones; 0: no limit
  uint32_t open_flows = 1024;     // at a time, at most 16,384
  bool operator==(const NetworkPolicy&) const = default;
};

// The tap of mode tap: one Vm's, so that a fork brings its own.
struct TapOptions {
  // One of both. `fd`: a tap with IFF_NO_PI and IFF_VNET_HDR, borrowed until the call returns; it
  // is gone with this process, so that the Vm resumed elsewhere has no link. `name`: of a tap of
  // the host that this process, and whoever resumes the Vm, may open: ip tuntap add NAME mode tap
  // user ME
  int fd = -1;
  std::string name;
  // Of the guest, given to it at start and after each resume, with their prefix: "192.0.2.7/24",
  // "2001:db8::7/64". None: the guest sees to it (DHCP, its own files). At most 8 of each.
  std::vector<std::string> addresses;
  std::vector<std::string> gateways;  // one of a family
  std::vector<std::string> dns;       // resolvers; none: the guest's resolv.conf stays
  std::string mac;                    // "02:00:5e:10:00:01"; empty: one of its own for each Vm
};

struct NetworkOptions {
  NetworkMode mode = NetworkMode::automatic;
  NetworkPolicy policy;  // of mode user
  TapOptions tap;        // of mode tap
};

// All but the first three: of mode user, since its network was started last, which the guest's
// first packet after a start or resume does.
struct NetworkCounters {
  // Of its device, since the start or resume.
  uint64_t packets_from_guest = 0;
  uint64_t packets_to_guest = 0;
  uint64_t packets_dropped = 0;   // malformed, of another sender than the guest, or for no room
  uint64_t bytes_from_guest = 0;  // of flows
  uint64_t bytes_to_guest = 0;
  uint64_t flows = 0;  // that were let through
  uint64_t flows_open = 0;
  uint64_t flows_refused_by_rule = 0;
  uint64_t flows_refused_by_limit = 0;
  uint64_t flows_failed = 0;  // the destination could not be reached
  uint64_t dns_queries = 0;
  uint64_t dns_failed = 0;  // no answer in time, or none that could be used
  bool operator==(const NetworkCounters&) const = default;
};

struct NetworkInfo {
  NetworkMode mode = NetworkMode::none;  // never automatic
  NetworkPolicy policy;
  std::string tap;          // its name
  std::string mac;          // of mode tap
  bool is_running = false;  // its microvm-net, which the guest's first packet starts
  NetworkCounters counters;
};

// What happened to a flow, or to a name that was asked for.
struct FlowRecord {
  enum class Kind {
    opened,
    ended,
    refused,  // `reason` is the rule, or the limit
    failed,   // `reason` is what went wrong
    name,     // the guest asked for `name`
  };
  std::string time;  // RFC 3339, UTC
  Kind kind = Kind::opened;
  std::string protocol;  // "tcp", "udp", "icmp"
  std::string address;   // where to
  uint16_t port = 0;
  std::string name;    // by which the guest knows the address; printable, the guest's word
  std::string reason;  // opened: the rule that allowed it; empty: the default
  uint64_t bytes_from_guest = 0;  // of one that ended
  uint64_t bytes_to_guest = 0;
  uint64_t lost = 0;  // records before this one that a slow reader missed
};
MICROVM_API const char* flow_kind_name(FlowRecord::Kind kind) noexcept;

// The flows of a Vm from now on, over suspend and resume, until it ends. It wakes nothing. Movable;
// one thread at a time. At most 8 follow one Vm. One that is not read holds some 200 KiB; who falls
// further behind misses records, and is told how many.
class MICROVM_API FlowStream {
 public:
  FlowStream(FlowStream&&) noexcept;
  FlowStream& operator=(FlowStream&&) noexcept;
  ~FlowStream();

  // Empty: the Vm has ended. Blocks until there is one, without a limit of its own. Errors: busy
  // (too many follow it), protocol; cancelled and deadline_exceeded, which lose nothing.
  Result<std::optional<FlowRecord>> next(const CallLimits& limits = {});
  // The same without waiting. Error would_block: wait for fd().
  Result<std::optional<FlowRecord>> try_next();

  // Readable when try_next() has something, and now and then when it has nothing; for poll().
  [[nodiscard]] int fd() const noexcept;

  struct Impl;
  explicit FlowStream(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace microvm
