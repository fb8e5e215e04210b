// The saved fields of a block device: the format of state section virtio_block, version 1. Nothing
// is in flight in a snapshot and the data is in the disk's layers; what is left is what the guest
// believes about the disk, which the disk it is restored with must match.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm {

struct BlockState {
  uint64_t capacity_bytes = 0;
  bool read_only = false;

  [[nodiscard]] wire::Bytes encode() const {
    wire::ByteWriter out;
    out.put(capacity_bytes);
    out.put(static_cast<uint8_t>(read_only));
    return out.take();
  }

  static Result<BlockState> decode(wire::ByteView body) {
    wire::ByteReader in(body);
    BlockState state;
    state.capacity_bytes = in.get<uint64_t>();
    state.read_only = in.get<uint8_t>() != 0;
    if (!in.done()) return base::fail(ErrorCode::corrupt, "virtio block state: bad structure");
    return state;
  }
};

}  // namespace microvm::vmm
