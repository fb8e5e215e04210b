// What the machine and the transport ask of the device.
#include "vmm/virtio/vsock/vsock.hpp"

#include <bit>
#include <string>

namespace microvm::vmm {
namespace {

// Linux fills the receive queue with 4 KiB buffers: 512 KiB of the guest's memory.
constexpr std::array<uint16_t, 3> kVsockQueueSizes = {128, 128, 16};

std::string port_name(uint32_t guest_port) {
  return "guest port " + std::to_string(guest_port);
}

}  // namespace

VsockDevice::VsockDevice(sys::Loop& loop, VsockLimits limits)
    : loop_(loop),
      limits_(limits),
      config_(std::bit_cast<std::array<std::byte, 8>>(kGuestCid)),
      self_(std::make_shared<VsockDevice*>(this)) {}

VsockDevice::~VsockDevice() {
  *self_ = nullptr;
  if (early_timer_ != 0) loop_.cancel(early_timer_);
  for (Connections* all : {&connections_, &retired_}) {
    for (const auto& [id, connection] : *all) {
      if (connection->watch != 0) loop_.unwatch(connection->watch);
      if (connection->timer != 0) loop_.cancel(connection->timer);
    }
  }
}

std::span<const uint16_t> VsockDevice::queue_sizes() const {
  return kVsockQueueSizes;
}

std::span<const std::byte> VsockDevice::config() const {
  return config_;
}

// Empty before the driver is there: then nobody but the caller knows the device.
std::unique_lock<std::mutex> VsockDevice::lock_if_active() const {
  DeviceHost* host = host_.load();
  if (host == nullptr) return {};
  auto guard = host->lock();
  if (!active_) guard.unlock();
  return guard;
}

void VsockDevice::post_done(ConnectDone done, Result<base::Fd> result) {
  auto shared = std::make_shared<Result<base::Fd>>(std::move(result));
  loop_.post([done = std::move(done), shared] { done(std::move(*shared)); });
}

void VsockDevice::post(void (VsockDevice::*call)()) {
  loop_.post([self = self_, call] {
    if (*self != nullptr) ((*self)->*call)();
  });
}

void VsockDevice::connect(uint32_t guest_port, ConnectDone done) {
  const auto guard = lock_if_active();
  if (!guard) {
    return post_done(std::move(done),
                     base::fail(ErrorCode::connection_refused,
                                port_name(guest_port) + ": the guest has no vsock driver yet"));
  }
  if (connections_.size() >= limits_.connections) {
    return post_done(std::move(done),
                     base::fail(ErrorCode::busy, port_name(guest_port) + ": too many connections"));
  }
  Connection& connection =
      add_connection(take_host_port(guest_port), guest_port, State::connecting);
  connection.done = std::move(done);
  start_timer(connection, limits_.connect);
  if (reset_ == Reset::none) {
    owe(connection, kOweRequest);
  } else {
    wait_for_reset();
  }
  pump();
  host_.load()->publish(kRxQueue);
}

void VsockDevice::listen(uint32_t host_port, Accept accept) {
  listeners_[host_port] = std::move(accept);
}

void VsockDevice::reset_connections() {
  const auto guard = lock_if_active();
  if (!guard) return;
  stray_.clear();
  early_.clear();
  waits_for_reset_ = false;
  std::vector<ConnectionId> all;
  for (const auto& [id, connection] : connections_) all.push_back(id);
  for (const ConnectionId id : all) {
    if (Connection* connection = find(id)) end(*connection);
  }
  reset_ = Reset::owed;
  send_event();
  host_.load()->publish(kEventQueue);
}

size_t VsockDevice::connections() const {
  const auto guard = lock_if_active();
  return guard ? connections_.size() : 0;
}

void VsockDevice::activate(DeviceHost& host) {
  host_ = &host;
  active_ = true;
}

void VsockDevice::process(uint16_t queue) {
  switch (queue) {
    case kRxQueue:
      return pump();
    case kTxQueue:
      look_for_reset();
      take_packets();
      pump();
      return host_.load()->publish(kRxQueue);
    case kEventQueue:
      send_event();
      look_for_reset();
      return host_.load()->publish(kRxQueue);
    default:
      return;
  }
}

// On a vCPU thread, where the loop must not be touched: what it watches is only put aside.
void VsockDevice::reset() {
  active_ = false;
  reset_ = Reset::none;
  waits_for_reset_ = false;
  ready_.clear();
  stray_.clear();
  early_.clear();
  index_.clear();
  retired_.merge(connections_);
  if (!retired_.empty()) post(&VsockDevice::bury_retired);
}

// Host readers still get what the guest sent before.
void VsockDevice::bury_retired() {
  const auto guard = host_.load()->lock();
  Connections retired = std::move(retired_);
  retired_.clear();
  for (auto& [id, owned] : retired) {
    Connection& connection = *owned;
    connections_.emplace(id, std::move(owned));
    if (connection.done) {
      post_done(std::move(connection.done),
                base::fail(ErrorCode::vm_gone, port_name(connection.guest_port) +
                                                   ": the guest reset its vsock device"));
      connection.done = nullptr;
    }
    end(connection);
  }
}

wire::Bytes VsockDevice::save() const {
  return VsockState{kGuestCid, next_host_port_}.encode();
}

Result<void> VsockDevice::restore(wire::ByteView body) {
  const auto state = VsockState::decode(body);
  if (!state) return base::fail(state.error());
  if (state->guest_cid != kGuestCid) {
    return base::fail(ErrorCode::corrupt, "virtio vsock state: an unknown guest address");
  }
  next_host_port_ = state->next_host_port;
  reset_ = Reset::owed;
  return {};
}

}  // namespace microvm::vmm
