#include "vmm/virtio/vsock/vsock_state.hpp"

namespace microvm::vmm {

wire::Bytes VsockState::encode() const {
  wire::ByteWriter out;
  out.put(guest_cid);
  out.put(next_host_port);
  return out.take();
}

Result<VsockState> VsockState::decode(wire::ByteView body) {
  wire::ByteReader in(body);
  VsockState state;
  state.guest_cid = in.get<uint64_t>();
  state.next_host_port = in.get<uint32_t>();
  const bool port_fits =
      state.next_host_port >= kFirstHostPort && state.next_host_port <= kLastHostPort;
  if (!in.done() || !port_fits)
    return base::fail(ErrorCode::corrupt, "virtio vsock state: bad body");
  return state;
}

}  // namespace microvm::vmm
