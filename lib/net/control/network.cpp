#include "net/control/network.hpp"

#include "net/control/rule_judge.hpp"
#include "net/space/user_namespace.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"

namespace microvm::net {
namespace {

// Without the file the defaults count.
Result<wire::NetworkSetup> read_setup(int home) {
  auto bytes = sys::read_file(home, wire::kNetworkFile, wire::kMaxNetworkSetupBytes);
  if (!bytes && bytes.error().code == ErrorCode::not_found) return wire::NetworkSetup{};
  if (!bytes) return base::fail(bytes.error());
  return wire::decode_network_setup(*bytes);
}

}  // namespace

Network::Network(sys::Loop& loop, NetworkFds fds)
    : loop_(loop), fds_(std::move(fds)), pace_(loop) {}

Result<void> Network::start() {
  auto prepared = prepare();
  if (!prepared) {
    const Error& error = prepared.error();
    const wire::NetFailed failed{static_cast<uint32_t>(error.code), error.message};
    static_cast<void>(sys::send_message(fds_.worker.get(), wire::encode_net(failed)));
    return prepared;
  }
  worker_ = std::make_unique<WorkerLink>(
      loop_, std::move(fds_.worker),
      WorkerLink::Callbacks{[this](FrameView frame) { first_packet(frame); },
                            [this] { loop_.stop(); }});
  const int tap = private_network_.tap.fd.get();
  worker_->send(wire::NetUp{private_network_.tap.offloads}, std::span(&tap, 1));
  return {};
}

Result<void> Network::prepare() {
  if (auto ok = space::enter_user_namespace(); !ok) return ok;
  auto setup = read_setup(fds_.home.get());
  if (!setup) return base::fail(setup.error());
  auto made = space_thread_.start([this] {
    return space::set_up_private_network().map(
        [this](space::PrivateNetwork network) { private_network_ = std::move(network); });
  });
  if (!made) return made;
  judge_ = std::make_unique<RuleJudge>(*setup);
  link_ =
      std::make_unique<GuestLink>(private_network_.tap.fd.get(), private_network_.to_guest.get());
  admission_ = std::make_unique<Admission>(*judge_, log_, status_);
  admission_->set_limits(setup->limits);
  pace_.set_limit(setup->limits.bytes_per_second);
  tcp_ = std::make_unique<TcpFlows>(loop_, space_thread_, *link_, *admission_, pace_);
  udp_ = std::make_unique<UdpPairs>(loop_, space_thread_, *link_, *admission_, pace_,
                                    [this](const wire::UdpPair& pair) { tell(pair); });
  echoes_ = std::make_unique<Echoes>(loop_, *link_, *admission_, pace_);
  fds_.home.reset();
  return {};
}

void Network::first_packet(FrameView frame) {
  const auto packet = read_first_packet(frame);
  if (!packet) return;
  switch (packet->protocol) {
    case wire::FlowProtocol::tcp:
      return tcp_->first_packet(*packet, frame);
    case wire::FlowProtocol::udp:
      return udp_->first_packet(*packet, frame);
    default:
      return echoes_->request(*packet);
  }
}

void Network::tell(const wire::UdpPair& pair) {
  static_cast<void>(worker_->send(pair));
}

}  // namespace microvm::net
