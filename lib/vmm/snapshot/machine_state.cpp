#include "vmm/snapshot/machine_state.hpp"

#include <algorithm>

namespace microvm::vmm::snapshot {
namespace {

bool only_zeros(wire::ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

uint32_t first_slots(const wire::Shape& shape) {
  return ((1u << shape.disks) - 1) | 1u << 4 | 1u << 5;
}

}  // namespace

wire::Bytes encode_machine(const MachineState& state) {
  const wire::Shape& shape = state.shape;
  wire::ByteWriter out;
  out.put(shape.memory_bytes);
  out.put(shape.vcpus);
  out.put(shape.disks);
  out.put(shape.memory_limit());
  out.put(shape.vcpu_limit());
  out.put(shape.nets);
  out.put(state.slots);
  out.put(static_cast<uint8_t>(shape.transport));
  return out.take();
}

Result<MachineState> decode_machine(wire::ByteView body, uint16_t version) {
  wire::ByteReader in(body);
  MachineState state;
  wire::Shape& shape = state.shape;
  shape.memory_bytes = in.get<uint64_t>();
  shape.vcpus = in.get<uint16_t>();
  shape.disks = in.get<uint16_t>();
  if (version >= 2) {
    shape.peak_memory_bytes = in.get<uint64_t>();
    shape.peak_vcpus = in.get<uint16_t>();
    shape.nets = in.get<uint16_t>();
    state.slots = in.get<uint32_t>();
  }
  // Not in those of before.
  const auto transport = in.left() > 0 ? in.get<uint8_t>() : uint8_t{0};
  const wire::ByteView rest = in.get_bytes(in.left());
  if (!in.ok() || version == 0 || (version == 1 && !rest.empty())) {
    return base::fail(ErrorCode::corrupt, "state file: bad machine section");
  }
  const bool knows_transport = transport <= static_cast<uint8_t>(wire::TransportKind::pci);
  if (!knows_transport || !only_zeros(rest)) {
    return base::fail(ErrorCode::unsupported,
                      "state file: the machine has something this library does not know; use the "
                      "library that made the snapshot");
  }
  shape.transport = static_cast<wire::TransportKind>(transport);
  if (const std::string problem = wire::shape_problem(shape); !problem.empty()) {
    return base::fail(ErrorCode::corrupt, "state file: " + problem);
  }
  if (state.slots == 0) state.slots = first_slots(shape);
  return state;
}

}  // namespace microvm::vmm::snapshot
