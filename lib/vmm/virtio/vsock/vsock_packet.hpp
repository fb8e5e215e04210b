// Packets of virtio-vsock as they stand in the queues (virtio 1.2 §5.10.6).
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vmm/virtio/queue.hpp"

namespace microvm::vmm {

struct [[gnu::packed]] VsockHeader {
  uint64_t src_cid = 0;
  uint64_t dst_cid = 0;
  uint32_t src_port = 0;
  uint32_t dst_port = 0;
  uint32_t len = 0;
  uint16_t type = 0;
  uint16_t op = 0;
  uint32_t flags = 0;
  uint32_t buf_alloc = 0;
  uint32_t fwd_cnt = 0;
};
inline constexpr uint32_t kVsockHeaderBytes = 44;
static_assert(sizeof(VsockHeader) == kVsockHeaderBytes);

inline constexpr uint64_t kHostCid = 2;
inline constexpr uint16_t kVsockTypeStream = 1;

enum class VsockOp : uint16_t {
  invalid = 0,
  request = 1,
  response = 2,
  rst = 3,
  shutdown = 4,
  rw = 5,
  credit_update = 6,
  credit_request = 7,
};

// Flags of a shutdown: what its sender will not do any more (§5.10.6.5).
inline constexpr uint32_t kShutdownReceive = 1;
inline constexpr uint32_t kShutdownSend = 2;
inline constexpr uint32_t kShutdownBoth = kShutdownReceive | kShutdownSend;

// virtio 1.2 §5.10.6.7
inline constexpr uint32_t kEventTransportReset = 0;

// One copy of the header, which the guest may change meanwhile. False: the chain is too short.
[[nodiscard]] bool read_header(const Chain& chain, VsockHeader& header);
// The chain has room for it.
void write_header(const Chain& chain, const VsockHeader& header);

// Appends to `out` the pieces that make up [skip, skip + length) of `buffers`.
void append_slice(std::span<const iovec> buffers, size_t skip, size_t length,
                  std::vector<iovec>& out);

}  // namespace microvm::vmm
