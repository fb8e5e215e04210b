#include "vmm/snapshot/machine_state.hpp"

#include <algorithm>

namespace microvm::vmm::snapshot {
namespace {

bool only_zeros(wire::ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

wire::Bytes encode_shape(const wire::Shape& shape) {
  wire::ByteWriter out;
  out.put(shape.memory_bytes);
  out.put(shape.vcpus);
  out.put(shape.disks);
  out.put(shape.memory_limit());
  out.put(shape.vcpu_limit());
  out.put(shape.nets);
  return out.take();
}

Result<wire::Shape> decode_shape(wire::ByteView body, uint16_t version) {
  wire::ByteReader in(body);
  wire::Shape shape;
  shape.memory_bytes = in.get<uint64_t>();
  shape.vcpus = in.get<uint16_t>();
  shape.disks = in.get<uint16_t>();
  if (version >= 2) {
    shape.peak_memory_bytes = in.get<uint64_t>();
    shape.peak_vcpus = in.get<uint16_t>();
    shape.nets = in.get<uint16_t>();
  }
  const wire::ByteView rest = in.get_bytes(in.left());
  if (!in.ok() || version == 0 || (version == 1 && !rest.empty())) {
    return base::fail(ErrorCode::corrupt, "state file: bad machine section");
  }
  if (!only_zeros(rest)) {
    return base::fail(ErrorCode::unsupported,
                      "state file: the machine has something this library does not know; use the "
                      "library that made the snapshot");
  }
  if (const std::string problem = wire::shape_problem(shape); !problem.empty()) {
    return base::fail(ErrorCode::corrupt, "state file: " + problem);
  }
  return shape;
}

}  // namespace microvm::vmm::snapshot
