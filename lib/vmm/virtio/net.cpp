// What the machine, the transport and the owner of the tap ask of the device.
#include "vmm/virtio/net.hpp"

#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "vmm/virtio/chain_bytes.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::vmm {
namespace {

constexpr std::array<uint16_t, 3> kNetQueueSizes = {256, 256, 64};
constexpr uint16_t kLinkUp = 1;

constexpr uint64_t kNetFeatures = kNetCsum | kNetGuestCsum | kNetMtuFeature | kNetMac |
                                  kNetGuestTso4 | kNetGuestTso6 | kNetHostTso4 | kNetHostTso6 |
                                  kNetMergedBuffers | kNetStatus | kNetControlQueue | kNetControlRx;

// virtio 1.2 §5.1.6.5
struct NetCommand {
  uint8_t group;
  uint8_t command;
};
constexpr uint8_t kControlOk = 0;
constexpr uint8_t kControlError = 1;

// The guest hears all there is on its link, whatever it asks for.
uint8_t answer_to(NetCommand asked) {
  constexpr uint8_t kRxMode = 0;
  constexpr uint8_t kLastRxMode = 5;
  constexpr uint8_t kMac = 1;
  constexpr uint8_t kMacTable = 0;
  const bool mode = asked.group == kRxMode && asked.command <= kLastRxMode;
  const bool table = asked.group == kMac && asked.command == kMacTable;
  return mode || table ? kControlOk : kControlError;
}

}  // namespace

NetDevice::NetDevice(sys::Loop& loop, wire::NetworkKind kind, Callbacks callbacks)
    : loop_(loop),
      kind_(kind),
      callbacks_(std::move(callbacks)),
      config_{wire::kGuestMac, 0, 1, wire::kNetMtu},
      self_(std::make_shared<NetDevice*>(this)) {
  set_link(kind != wire::NetworkKind::none);
  told_link_up_ = link_up();
}

NetDevice::~NetDevice() {
  *self_ = nullptr;
  drop_tap();
}

std::span<const uint16_t> NetDevice::queue_sizes() const {
  return kNetQueueSizes;
}

uint64_t NetDevice::features() const {
  return kNetFeatures;
}

std::span<const std::byte> NetDevice::config() const {
  return std::as_bytes(std::span(&config_, 1));
}

// Before there is a driver nobody but the caller knows the device.
std::unique_lock<std::mutex> NetDevice::lock() const {
  DeviceHost* host = host_.load();
  return host != nullptr ? host->lock() : std::unique_lock<std::mutex>();
}

// ---- the tap -----------------------------------------------------------------------------------

void NetDevice::connect(base::Fd tap) {
  const auto guard = lock();
  drop_tap();
  tap_fd_ = std::move(tap);
  tap_ = Tap::there;
  spill_.resize(wire::kMaxFrameBytes);
  set_offloads_ = true;
  if (active_) settle();
  if (active_) send_frames();
}

void NetDevice::disconnect() {
  const auto guard = lock();
  drop_tap();
  if (active_) drop_waiting();
}

void NetDevice::drop_tap() {
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  tap_fd_.reset();
  tap_ = Tap::none;
  held_bytes_ = 0;
  pairs_.clear();
}

void NetDevice::on_lost(int error) {
  drop_tap();
  if (kind_ == wire::NetworkKind::tap) {
    set_link(false);
    if (active_) settle();  // there is no tap any more: it only tells the driver
  }
  loop_.post([self = self_, error] {
    if (*self == nullptr || !(*self)->callbacks_.tap_lost) return;
    (*self)->callbacks_.tap_lost(base::fail_errno("the tap of the guest's network", error).value());
  });
}

void NetDevice::apply(const wire::UdpPair& pair) {
  const auto guard = lock();
  if (tap_ == Tap::there) pairs_.apply(pair);
}

wire::NetCounters NetDevice::counters() const {
  const auto guard = lock();
  return counters_;
}

// What the driver has not agreed to take, the host's kernel does before it hands a frame over.
// Where it can not be told, is_wanted() holds all the same.
void NetDevice::set_offloads() {
  set_offloads_ = false;
  if (!tap_fd_) return;
  unsigned long offloads = 0;
  if (host().has_feature(kNetGuestCsum)) {
    offloads = TUN_F_CSUM;
    if (host().has_feature(kNetGuestTso4)) offloads |= TUN_F_TSO4;
    if (host().has_feature(kNetGuestTso6)) offloads |= TUN_F_TSO6;
  }
  static_cast<void>(::ioctl(tap_fd_.get(), TUNSETOFFLOAD, offloads));
}

// Frames are looked for once there is a driver to take them.
void NetDevice::listen(bool on) {
  if (watch_ == 0) {
    if (!on) return;
    watch_ = loop_.watch(tap_fd_.get(), POLLIN, [this](uint32_t events) { tap_ready(events); });
  } else if (on != listening_) {
    loop_.rearm(watch_, on ? POLLIN : 0);
  }
  listening_ = on;
}

// ---- the driver --------------------------------------------------------------------------------

bool NetDevice::link_up() const {
  return (config_.status & kLinkUp) != 0;
}

void NetDevice::set_link(bool up) {
  config_.status = up ? kLinkUp : 0;
}

void NetDevice::activate(DeviceHost& host) {
  host_ = &host;
  active_ = true;
  set_offloads_ = true;
}

// What a new driver, or a restored one, has to be given first; on the loop's thread.
void NetDevice::settle() {
  if (set_offloads_) set_offloads();
  if (told_link_up_ != link_up()) {
    told_link_up_ = link_up();
    host().config_changed();
  }
  if (tap_ == Tap::there && watch_ == 0) listen(true);
}

void NetDevice::process(uint16_t queue) {
  settle();
  switch (queue) {
    case kRxQueue:
      if (tap_ == Tap::there && !listening_) receive();
      return;
    case kTxQueue:
      return send_frames();
    default:
      return answer_controls();
  }
}

void NetDevice::answer_controls() {
  while (host().pop(kControlQueue, chain_)) {
    std::byte* const answer = take_last_byte(chain_);
    NetCommand command{};
    const bool whole = take_front(chain_, command);
    if (answer != nullptr) *answer = std::byte{whole ? answer_to(command) : kControlError};
    host().push(kControlQueue, chain_.head, answer != nullptr ? 1 : 0);
  }
}

// On a vCPU thread, where the loop must not be touched.
void NetDevice::reset() {
  active_ = false;
  held_bytes_ = 0;
  expected_buffers_ = 1;
  told_link_up_ = link_up();
}

wire::Bytes NetDevice::save() const {
  return NetState{config_.mac, config_.mtu, told_link_up_}.encode();
}

Result<void> NetDevice::restore(wire::ByteView body) {
  const auto state = NetState::decode(body);
  if (!state) return base::fail(state.error());
  config_.mac = state->mac;
  config_.mtu = state->mtu;
  told_link_up_ = state->link_up;
  return {};
}

}  // namespace microvm::vmm
