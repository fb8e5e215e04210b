// The driver's side of every transport: what negotiation and set-up come to, wherever the registers
// for them are.
#include <algorithm>
#include <cstring>

#include "vmm/virtio/transport.hpp"

namespace microvm::vmm {

using namespace status;

namespace {

uint32_t half_of(uint64_t bits, uint32_t selected) {
  return selected > 1 ? 0 : static_cast<uint32_t>(bits >> (32 * selected));
}

}  // namespace

uint32_t Transport::device_features() const {
  return half_of(offered_features(), state_.device_features_sel);
}

uint32_t Transport::driver_features() const {
  return half_of(state_.driver_features, state_.driver_features_sel);
}

void Transport::write_driver_features(uint32_t value) {
  if (!has_status(kDriver) || has_status(kFeaturesOk) || state_.driver_features_sel > 1) return;
  const uint32_t shift = 32 * state_.driver_features_sel;
  const uint64_t others = state_.driver_features & ~(uint64_t{0xffff'ffff} << shift);
  state_.driver_features = others | uint64_t{value} << shift;
}

void Transport::read_config(uint64_t offset, std::span<std::byte> data) const {
  const std::span<const std::byte> config = device_->config();
  if (offset >= config.size()) return;
  const std::span<const std::byte> rest = config.subspan(offset);
  std::memcpy(data.data(), rest.data(), std::min(rest.size(), data.size()));
}

const Queue* Transport::selected() const {
  return state_.queue_sel < queues_.size() ? &queues_[state_.queue_sel] : nullptr;
}

// Queues are set up between FEATURES_OK and DRIVER_OK and are frozen from then on: one that is in
// use can only be stopped.
QueueSetup* Transport::setup_of_selected() {
  if (selected() == nullptr || !has_status(kFeaturesOk) || has_status(kDriverOk)) return nullptr;
  QueueSetup& setup = state_.queues[state_.queue_sel];
  return setup.ready ? nullptr : &setup;
}

void Transport::enable_selected() {
  if (QueueSetup* setup = setup_of_selected()) setup->ready = true;
}

void Transport::stop_selected() {
  if (selected() == nullptr || !has_status(kFeaturesOk)) return;
  if (has_status(kDriverOk)) return stop_queue(static_cast<uint16_t>(state_.queue_sel));
  state_.queues[state_.queue_sel].ready = false;
}

void Transport::write_status(std::unique_lock<std::mutex>& guard, uint32_t value) {
  if (value == 0) return reset(guard);
  add_status(value);
}

// virtio 1.2 §3.1.1: the driver sets bits in this order and never clears one but by a reset. What
// does not fit is not taken over, which the driver sees when it reads the status back.
void Transport::add_status(uint32_t value) {
  if (resetting_) return;
  if ((state_.status & kDriverStatus & ~value) != 0) return;
  const uint32_t added = value & kDriverStatus & ~state_.status;
  state_.status |= added & (kAcknowledge | kFailed);
  if ((added & kDriver) != 0 && has_status(kAcknowledge)) state_.status |= kDriver;
  if ((added & kFeaturesOk) != 0 && has_status(kDriver) && accept_features()) {
    state_.status |= kFeaturesOk;
  }
  if ((added & kDriverOk) != 0 && has_status(kFeaturesOk)) start_driver();
}

bool Transport::accept_features() const {
  const bool offered = (state_.driver_features & ~offered_features()) == 0;
  return offered && (state_.driver_features & kFeatureVersion1) != 0;
}

}  // namespace microvm::vmm
