// The net wire: one SOCK_SEQPACKET datagram per message, fds as SCM_RIGHTS. A message is a header
// (u16 version, u16 type) and a body in the growing form of fields.hpp; FirstPacket's is raw.
//   worker ↔ microvm-net   from the same library always: the worker was given the program
//   library → microvm-net  over the socket kNetSocket in the Vm's directory; any versions of both.
//                          A request gets one reply, in order.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/network_setup.hpp"

namespace microvm::wire {

inline constexpr uint16_t kNetWireVersion = 1;
inline constexpr const char* kNetSocket = "net.sock";
inline constexpr size_t kMaxNetMessage = size_t{128} * 1024;
inline constexpr size_t kMaxFrameBytes = 65'536 + 14 + 12;  // with Ethernet and virtio-net header

// Of microvm-net, when it is started.
inline constexpr int kNetWorkerFd = 3;   // the net wire
inline constexpr int kNetStarterFd = 4;  // its starter: see net_starter.hpp
inline constexpr int kNetHomeFd = 5;     // the Vm's directory

// microvm-net → its starter, one byte; the answer is one byte, 0 with the file opened for reading,
// or an errno.
enum class StarterRequest : uint8_t { resolv_conf = 1, hosts = 2 };

// ---- microvm-net → worker ----------------------------------------------------------------------

// The network is there. One fd: the tap, non-blocking, IFF_NO_PI and a virtio-net header of 12
// bytes, with these of its offloads on (TUN_F_…).
struct NetUp {
  uint32_t offloads = 0;
};

// It can not be; the process ends. One line with what to do.
struct NetFailed {
  uint32_t code = 0;  // microvm::ErrorCode
  std::string message;
};

// Addresses are IPv6, IPv4 as ::ffff:a.b.c.d.
struct NetEndpoint {
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;
  friend bool operator==(const NetEndpoint&, const NetEndpoint&) = default;
};

// Packets of this pair go to the tap from now on; with `admitted` false to microvm-net again.
struct UdpPair {
  bool admitted = false;
  NetEndpoint guest;
  NetEndpoint remote;
};

// ---- worker → microvm-net ----------------------------------------------------------------------

// The first of a flow (TCP SYN without ACK, UDP of a pair that is not admitted, ICMP echo request):
// virtio-net header and frame as the guest sent them. microvm-net puts it into the tap when, and
// if, it is to come in.
struct FirstPacket {
  Bytes frame;
};

// ---- library → microvm-net, and answers --------------------------------------------------------

// The Vm has another setup. One fd: the file. Flows that it forbids are over when this is answered.
// Reply: NetOk or NetError.
struct SetupChanged {};

struct NetStatusRequest {};

// Since microvm-net started.
struct NetStatus {
  uint64_t bytes_from_guest = 0;  // of flows
  uint64_t bytes_to_guest = 0;
  uint64_t flows = 0;  // that were let through
  uint64_t flows_open = 0;
  uint64_t flows_refused_by_rule = 0;
  uint64_t flows_refused_by_limit = 0;
  uint64_t flows_failed = 0;  // the destination could not be reached
  uint64_t dns_queries = 0;
  uint64_t dns_failed = 0;  // no answer in time, or none that could be used
};

// FlowRecords from now on, until the connection is closed; who reads too slowly loses some.
struct FlowLogRequest {};

struct FlowRecord {
  enum class What : uint8_t { opened = 0, ended = 1, refused = 2, failed = 3, name = 4 };
  uint64_t realtime_ns = 0;
  What what = What::opened;
  FlowProtocol protocol = FlowProtocol::tcp;
  NetEndpoint remote;
  std::string name;               // by which the guest knows the address; name: what it asked for
  std::string reason;             // the rule that counted, or what went wrong
  uint64_t bytes_from_guest = 0;  // ended
  uint64_t bytes_to_guest = 0;
  uint64_t lost = 0;  // records before this one that were left out
};

struct NetOk {};
struct NetError {
  uint32_t code = 0;  // microvm::ErrorCode
  std::string message;
};

struct UnknownNetMessage {
  uint16_t type = 0;
};

using NetMessage =
    std::variant<NetUp, NetFailed, UdpPair, FirstPacket, SetupChanged, NetStatusRequest, NetStatus,
                 FlowLogRequest, FlowRecord, NetOk, NetError, UnknownNetMessage>;

[[nodiscard]] Bytes encode_net(const NetMessage& message);
// Errors: protocol, unsupported (a version we do not know).
[[nodiscard]] Result<NetMessage> decode_net(ByteView bytes);

}  // namespace microvm::wire
