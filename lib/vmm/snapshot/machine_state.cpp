#include "vmm/snapshot/machine_state.hpp"

namespace microvm::vmm::snapshot {

wire::Bytes encode_shape(const Shape& shape) {
  wire::ByteWriter out;
  out.put(shape.memory_bytes);
  out.put(shape.vcpus);
  out.put(shape.disks);
  return out.take();
}

Result<Shape> decode_shape(wire::ByteView body) {
  wire::ByteReader in(body);
  Shape shape;
  shape.memory_bytes = in.get<uint64_t>();
  shape.vcpus = in.get<uint16_t>();
  shape.disks = in.get<uint16_t>();
  if (!in.done()) return base::fail(ErrorCode::corrupt, "state file: bad machine section");
  return shape;
}

}  // namespace microvm::vmm::snapshot
