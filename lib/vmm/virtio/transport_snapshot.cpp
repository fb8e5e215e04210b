// What is saved of a transport and its device.
#include <algorithm>
#include <string>

#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

using namespace status;

Result<void> Transport::save(state::Writer& out, uint32_t instance) const {
  const DeviceKind& kind = device_->kind();
  if (!idle()) {
    return base::fail(ErrorCode::busy,
                      "virtio " + std::string(kind.name) + ": input or output is in flight");
  }
  const std::lock_guard guard(mutex_);
  TransportState state = state_;
  state.interrupt_status = interrupt_status_;
  state.positions.clear();
  for (const Queue& queue : queues_) {
    state.positions.push_back(queue.position());
  }
  out.add(state::SectionId::virtio_transport, instance, kTransportStateVersion, state.encode());
  save_registers(out, instance);
  out.add(state_section(kind.type), instance, kind.state_version, device_->save());
  return {};
}

Result<void> Transport::check(const TransportState& state) const {
  const std::string name = "virtio " + std::string(device_->kind().name);
  const auto corrupt = [&](const char* what) {
    return base::fail(ErrorCode::corrupt, name + " state: " + what);
  };
  if (state.device_type != state_.device_type) return corrupt("made for another kind of device");
  if ((state.status & ~(kDriverStatus | kNeedsReset)) != 0) return corrupt("bad status");
  if ((state.interrupt_status & ~(kUsedBuffer | kConfigChange)) != 0) {
    return corrupt("bad interrupt status");
  }
  if (state.queues.size() != queues_.size()) return corrupt("bad number of queues");
  constexpr uint32_t kBeforeDriverOk = kAcknowledge | kDriver | kFeaturesOk;
  const bool driver_ok = (state.status & kDriverOk) != 0;
  if (driver_ok && (state.status & kBeforeDriverOk) != kBeforeDriverOk)
    return corrupt("bad status");
  if ((state.status & kFeaturesOk) == 0) return {};
  if ((state.driver_features & kFeatureVersion1) == 0) return corrupt("bad features");
  if ((state.driver_features & ~offered_features()) != 0) {
    return base::fail(ErrorCode::unsupported,
                      name + " state: the guest uses features this device does not have");
  }
  return {};
}

Result<void> Transport::restore(const state::Reader& in, uint32_t instance) {
  const DeviceKind& kind = device_->kind();
  const auto section =
      in.find(state::SectionId::virtio_transport, instance, kTransportStateVersion);
  if (!section) return base::fail(section.error());
  auto state = TransportState::decode(section->body);
  if (!state) return base::fail(state.error());
  const auto device_section = in.find(state_section(kind.type), instance, kind.state_version);
  if (!device_section) return base::fail(device_section.error());

  const std::lock_guard guard(mutex_);
  if (auto ok = check(*state); !ok) return ok;
  if (auto ok = device_->restore(device_section->body); !ok) return ok;
  state_ = std::move(*state);
  interrupt_status_ = state_.interrupt_status;
  paused_ = true;
  if (auto ok = restore_registers(in, instance); !ok) return ok;
  if (!has_status(kDriverOk) || has_status(kNeedsReset)) return {};
  const bool started = start_queues();
  state_.positions.clear();
  if (!started) {
    return base::fail(ErrorCode::corrupt,
                      "virtio " + std::string(kind.name) + " state: a queue is not valid");
  }
  device_->activate(*this);
  return {};
}

}  // namespace microvm::vmm
