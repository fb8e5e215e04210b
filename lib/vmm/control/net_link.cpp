#include "vmm/control/net_link.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "sys/socket.hpp"
#include "vmm/control/net_starter.hpp"

namespace microvm::vmm::control {
namespace {

constexpr int kMessagesPerTurn = 64;
constexpr size_t kMaxSaid = 1024;

}  // namespace

NetLink::NetLink(sys::Loop& loop, base::Fd starter, Tell tell,
                 std::chrono::milliseconds start_limit)
    : loop_(loop),
      starter_(std::move(starter)),
      tell_(std::move(tell)),
      start_limit_(start_limit),
      self_(std::make_shared<NetLink*>(this)) {}

NetLink::~NetLink() {
  *self_ = nullptr;
  close();
}

std::unique_ptr<NetDevice> NetLink::make_device() {
  auto device = std::make_unique<NetDevice>(
      loop_, wire::NetworkKind::user,
      NetDevice::Callbacks{.want_tap = [this] { return want_tap(); },
                           .first_packet = [this](wire::ByteView frame) { return give(frame); },
                           .tap_lost = [this](const Error&) { on_tap_lost(); }});
  device_ = device.get();
  return device;
}

// The device's mutex is held: what it has to hear of comes later.
bool NetLink::want_tap() {
  if (wire_) return true;
  if (Clock::now() < next_start_) return false;
  const auto started = start();
  if (started) return true;
  loop_.post([self = self_, error = started.error()] {
    if (*self != nullptr) (*self)->end(Event::What::failed, error);
  });
  next_start_ = Clock::now() + pause_;
  return false;
}

Result<void> NetLink::start() {
  if (!starter_) return base::fail(ErrorCode::unsupported, "this worker was given no microvm-net");
  auto pair = sys::seqpacket_pair();
  if (!pair) return base::fail(pair.error());
  if (auto ok = sys::set_nonblocking(pair->first.get()); !ok) return ok;
  if (auto ok = ask_for_net(starter_.get(), pair->second.get()); !ok) return ok;
  wire_ = std::move(pair->first);
  ++starts_;
  started_ = Clock::now();
  watch_ = loop_.watch(wire_.get(), POLLIN, [this](uint32_t) { on_readable(); });
  limit_ = loop_.after(start_limit_, [this] {
    limit_ = 0;
    end(Event::What::failed, {ErrorCode::deadline_exceeded, "microvm-net did not come up in time"});
  });
  return {};
}

// What it has no room for is lost, as in any network.
bool NetLink::give(wire::ByteView frame) {
  const wire::FirstPacket packet{{frame.begin(), frame.end()}};
  return wire_ && sys::send_message(wire_.get(), wire::encode_net(packet)).has_value();
}

void NetLink::on_readable() {
  for (int i = 0; wire_ && i < kMessagesPerTurn; ++i) {
    auto received = sys::receive_message(wire_.get(), {.bytes = wire::kMaxNetMessage, .fds = 1});
    if (!received && received.error().code == ErrorCode::busy) return;
    if (!received) return end(up_ ? Event::What::ended : Event::What::failed, why_it_ended());
    const auto message = wire::decode_net(received->bytes);
    if (!message || !take(*message, received->fds)) {
      return end(Event::What::ended, {ErrorCode::protocol, "microvm-net said what it may not say"});
    }
  }
}

// False: it may not say that. What a newer one says beside is passed over.
bool NetLink::take(const wire::NetMessage& message, std::vector<base::Fd>& fds) {
  if (const auto* failed = std::get_if<wire::NetFailed>(&message)) {
    end(Event::What::failed,
        {static_cast<ErrorCode>(failed->code), failed->message.substr(0, kMaxSaid)});
    return true;
  }
  if (const auto* pair = std::get_if<wire::UdpPair>(&message)) {
    device_->apply(*pair);
    return true;
  }
  if (!std::holds_alternative<wire::NetUp>(message)) return true;
  if (up_ || fds.size() != 1) return false;
  on_up(std::move(fds.front()));
  return true;
}

void NetLink::on_up(base::Fd tap) {
  if (auto ok = sys::set_nonblocking(tap.get()); !ok) return end(Event::What::failed, ok.error());
  up_ = true;
  loop_.cancel(std::exchange(limit_, 0));
  device_->connect(std::move(tap));
  tell_({Event::What::up, 0, {}});
}

// It holds the tap as long as it lives; which end is seen first is chance.
void NetLink::on_tap_lost() {
  if (wire_) end(Event::What::ended, why_it_ended());
}

Error NetLink::why_it_ended() const {
  const std::string why = starter_ ? why_not_started(starter_.get()) : std::string();
  if (!why.empty()) return {ErrorCode::io, "start microvm-net: " + why};
  if (!up_) return {ErrorCode::io, "microvm-net ended before it was up"};
  return {ErrorCode::vm_gone, "microvm-net ended; the guest's next frame starts it again"};
}

void NetLink::end(Event::What what, const Error& error) {
  const auto now = Clock::now();
  const bool lasted = up_ && now - started_ > kLongestPause;
  pause_ = lasted ? kShortestPause : pause_;
  next_start_ = now + pause_;
  pause_ = std::min(pause_ * 2, kLongestPause);
  close();
  if (device_ != nullptr) device_->disconnect();
  tell_({what, static_cast<uint32_t>(error.code), error.message});
}

void NetLink::let_go() {
  close();
  if (!starter_) return;
  ::shutdown(starter_.get(), SHUT_WR);
  pollfd gone{starter_.get(), 0, 0};  // what it has said is no matter, only that it is gone
  ::poll(&gone, 1, static_cast<int>(kLetGoLimit.count()));
  starter_.reset();
}

void NetLink::close() {
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  if (limit_ != 0) loop_.cancel(std::exchange(limit_, 0));
  wire_.reset();
  up_ = false;
}

}  // namespace microvm::vmm::control
