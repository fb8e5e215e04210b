#include "net/control/network.hpp"

#include "net/control/jail.hpp"
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

Network::Network(sys::Loop& loop, NetworkOrigin origin)
    : loop_(loop),
      origin_(std::move(origin)),
      host_addresses_(loop,
                      [this](HostAddresses addresses) {
                        judge_.set_host_addresses(std::move(addresses));
                        judge_again();
                      }),
      management_(
          loop, {[this](wire::NetworkSetup setup) { return change_setup(std::move(setup)); },
                 [this] { return status_; },
                 [this](bool followed) {
                   log_.set_receiver(followed ? FlowLog::Receiver([this](wire::FlowRecord record) {
                     management_.tell(std::move(record));
                   })
                                              : FlowLog::Receiver());
                 }}),
      pace_(loop) {}

Result<void> Network::start() {
  auto prepared = prepare();
  if (!prepared) {
    const Error& error = prepared.error();
    const wire::NetFailed failed{static_cast<uint32_t>(error.code), error.message};
    static_cast<void>(sys::send_message(origin_.worker.get(), wire::encode_net(failed)));
    return prepared;
  }
  worker_ = std::make_unique<WorkerLink>(
      loop_, std::move(origin_.worker),
      WorkerLink::Callbacks{[this](FrameView frame) { first_packet(frame); },
                            [this] { loop_.stop(); }});
  const int tap = private_network_.tap.fd.get();
  worker_->send(wire::NetUp{private_network_.tap.offloads}, std::span(&tap, 1));
  return {};
}

Result<void> Network::prepare() {
  // Before the file is read: whoever changes it later finds somebody to tell.
  if (auto ok = management_.listen(origin_.home.get()); !ok) return ok;
  auto setup = read_setup(origin_.home.get());
  if (!setup) return base::fail(setup.error());
  judge_.set_policy(std::move(*setup));
  origin_.home.reset();
  if (auto ok = host_addresses_.start(); !ok) return ok;
  if (auto ok = space::enter_user_namespace(); !ok) return ok;
  auto made = space_thread_.start([this] {
    return space::set_up_private_network().map(
        [this](space::PrivateNetwork network) { private_network_ = std::move(network); });
  });
  if (!made) return made;
  make_flows();
  // A ring is set going by the first wait: the jail has no call for that.
  loop_.run_once(std::chrono::milliseconds(0));
  return lock_down();
}

void Network::make_flows() {
  link_ =
      std::make_unique<GuestLink>(private_network_.tap.fd.get(), private_network_.to_guest.get());
  admission_ = std::make_unique<Admission>(judge_, log_, status_);
  pace_.set_limit(judge_.limits().bytes_per_second);
  tcp_ = std::make_unique<TcpFlows>(loop_, space_thread_, *link_, *admission_, pace_);
  udp_ = std::make_unique<UdpPairs>(loop_, space_thread_, *link_, *admission_, pace_,
                                    [this](const wire::UdpPair& pair) { tell(pair); });
  echoes_ = std::make_unique<Echoes>(loop_, *link_, *admission_, pace_);
  dns_ = std::make_unique<DnsService>(loop_, space_thread_, *link_, judge_, log_, status_,
                                      std::move(origin_.starter),
                                      read_resolv_conf(origin_.resolv_conf));
}

Result<void> Network::change_setup(wire::NetworkSetup setup) {
  judge_.set_policy(std::move(setup));
  admission_->renew_limits();
  dns_->renew();
  judge_again();
  // Last: it lets those go on that waited, and what is forbidden now is over by then.
  pace_.set_limit(judge_.limits().bytes_per_second);
  return {};
}

// What is forbidden now is over.
void Network::judge_again() {
  if (tcp_ == nullptr) return;
  tcp_->judge_again();
  udp_->judge_again();
  echoes_->judge_again();
}

void Network::first_packet(FrameView frame) {
  const auto packet = read_first_packet(frame);
  if (!packet || dns_->first_packet(*packet, frame)) return;
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
