// The saved fields of the vsock device: the format of state section virtio_vsock, version 1.
// Connections are not saved: their other ends stay behind.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

// The host's ports for its own connections. They go on from where the snapshot was, because the
// guest may still hold dead sockets with earlier ones.
inline constexpr uint32_t kFirstHostPort = 0x4000'0000;
inline constexpr uint32_t kLastHostPort = 0x7fff'ffff;

struct VsockState {
  uint64_t guest_cid = 0;
  uint32_t next_host_port = kFirstHostPort;

  [[nodiscard]] wire::Bytes encode() const;
  static Result<VsockState> decode(wire::ByteView body);
};

}  // namespace microvm::vmm
