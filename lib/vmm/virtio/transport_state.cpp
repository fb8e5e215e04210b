#include "vmm/virtio/transport_state.hpp"

namespace microvm::vmm {
namespace {

void put_queue(wire::ByteWriter& out, const QueueSetup& setup, QueuePosition position) {
  out.put(setup.size);
  out.put(static_cast<uint8_t>(setup.ready));
  out.put(setup.descriptors);
  out.put(setup.available);
  out.put(setup.used);
  out.put(position.next_available);
  out.put(position.next_used);
}

void get_queue(wire::ByteReader& in, TransportState& state) {
  QueueSetup& setup = state.queues.emplace_back();
  setup.size = in.get<uint16_t>();
  const auto ready = in.get<uint8_t>();
  if (ready > 1) in.fail();
  setup.ready = ready == 1;
  setup.descriptors = in.get<uint64_t>();
  setup.available = in.get<uint64_t>();
  setup.used = in.get<uint64_t>();
  QueuePosition& position = state.positions.emplace_back();
  position.next_available = in.get<uint16_t>();
  position.next_used = in.get<uint16_t>();
}

}  // namespace

wire::Bytes TransportState::encode() const {
  wire::ByteWriter out;
  out.put(device_type);
  out.put(status);
  out.put(driver_features);
  out.put(device_features_sel);
  out.put(driver_features_sel);
  out.put(queue_sel);
  out.put(interrupt_status);
  out.put(config_generation);
  out.put(static_cast<uint16_t>(queues.size()));
  for (size_t i = 0; i < queues.size(); ++i) {
    put_queue(out, queues[i], positions[i]);
  }
  return out.take();
}

Result<TransportState> TransportState::decode(wire::ByteView body) {
  wire::ByteReader in(body);
  TransportState state;
  state.device_type = in.get<uint32_t>();
  state.status = in.get<uint32_t>();
  state.driver_features = in.get<uint64_t>();
  state.device_features_sel = in.get<uint32_t>();
  state.driver_features_sel = in.get<uint32_t>();
  state.queue_sel = in.get<uint32_t>();
  state.interrupt_status = in.get<uint32_t>();
  state.config_generation = in.get<uint32_t>();
  const auto count = in.get<uint16_t>();
  if (count > kMaxQueues) in.fail();
  for (uint16_t i = 0; in.ok() && i < count; ++i) {
    get_queue(in, state);
  }
  if (!in.done()) return base::fail(ErrorCode::corrupt, "virtio transport state: bad structure");
  return state;
}

}  // namespace microvm::vmm
