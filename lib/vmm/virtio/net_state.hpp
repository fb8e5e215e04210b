// The saved fields of a network device: the format of state section virtio_devices + 1, version 1.
// What it is connected to is of one life only; left is what the guest believes about the device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/error.hpp"
#include "wire/bytes.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::vmm {

struct NetState {
  wire::MacAddress mac{};
  uint16_t mtu = 0;
  bool link_up = false;

  [[nodiscard]] wire::Bytes encode() const {
    wire::ByteWriter out;
    for (const uint8_t byte : mac) out.put(byte);
    out.put(mtu);
    out.put(static_cast<uint8_t>(link_up));
    return out.take();
  }

  static Result<NetState> decode(wire::ByteView body) {
    wire::ByteReader in(body);
    NetState state;
    for (uint8_t& byte : state.mac) byte = in.get<uint8_t>();
    state.mtu = in.get<uint16_t>();
    const auto link = in.get<uint8_t>();
    if (link > 1) in.fail();
    state.link_up = link == 1;
    if (!in.done()) return base::fail(ErrorCode::corrupt, "virtio net state: bad structure");
    return state;
  }
};

}  // namespace microvm::vmm
