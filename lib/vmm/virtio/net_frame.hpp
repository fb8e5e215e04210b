// What a guest sends, before it goes anywhere: header and frame are bytes of a hostile driver. All
// here looks at a copy of the frame's first bytes, for the guest can change its own at any time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wire/bytes.hpp"
#include "wire/net.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::vmm {

// virtio 1.2 §5.1.6
struct NetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t hdr_len = 0;
  uint16_t gso_size = 0;
  uint16_t csum_start = 0;
  uint16_t csum_offset = 0;
  uint16_t num_buffers = 0;
};
static_assert(sizeof(NetHeader) == 12);

inline constexpr uint8_t kNetNeedsCsum = 1;
inline constexpr uint8_t kNetGsoNone = 0;
inline constexpr uint8_t kNetGsoTcp4 = 1;
inline constexpr uint8_t kNetGsoTcp6 = 4;

// virtio 1.2 §5.1.3
inline constexpr uint64_t kNetCsum = uint64_t{1} << 0;
inline constexpr uint64_t kNetGuestCsum = uint64_t{1} << 1;
inline constexpr uint64_t kNetMtuFeature = uint64_t{1} << 3;
inline constexpr uint64_t kNetMac = uint64_t{1} << 5;
inline constexpr uint64_t kNetGuestTso4 = uint64_t{1} << 7;
inline constexpr uint64_t kNetGuestTso6 = uint64_t{1} << 8;
inline constexpr uint64_t kNetHostTso4 = uint64_t{1} << 11;
inline constexpr uint64_t kNetHostTso6 = uint64_t{1} << 12;
inline constexpr uint64_t kNetMergedBuffers = uint64_t{1} << 15;
inline constexpr uint64_t kNetStatus = uint64_t{1} << 16;
inline constexpr uint64_t kNetControlQueue = uint64_t{1} << 17;
inline constexpr uint64_t kNetControlRx = uint64_t{1} << 18;

inline constexpr size_t kEthernetBytes = 14;
// Of a frame, these are copied and looked at: Ethernet, IP with what may stand between it and TCP,
// and TCP with all its options. A frame whose headers need more is malformed.
inline constexpr size_t kFrameHeadBytes = 256;
inline constexpr size_t kMaxPlainFrame = kEthernetBytes + wire::kNetMtu;  // without offload

struct Frame {
  NetHeader header;
  wire::ByteView head;  // the first bytes, up to kFrameHeadBytes
  size_t bytes = 0;     // of all of it, without the virtio-net header
};

// The offloads that the header asks for, with nothing left in it that nobody needs. False: they are
// none that the driver has agreed to (`features`), or reach out of the frame.
[[nodiscard]] bool take_offloads(Frame& frame, uint64_t features);

enum class FrameKind : uint8_t {
  malformed,
  spoofed,  // not from the guest's MAC and addresses
  chatter,  // what an idle guest says by itself, and nobody has to hear
  pass,     // for the tap
  udp,      // for the tap when the pair is admitted, else a first packet
  first,    // opens a flow: TCP SYN, ICMP echo request
};

struct FrameFacts {
  FrameKind kind = FrameKind::malformed;
  wire::NetEndpoint guest;  // of udp
  wire::NetEndpoint remote;
};

// A frame with its offloads taken, of a guest in microvm's own network (wire/net_addresses.hpp).
[[nodiscard]] FrameFacts classify(const Frame& frame);

}  // namespace microvm::vmm
