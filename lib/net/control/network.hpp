// All of microvm-net: one Vm's network, from its start to the end of its worker.
#pragma once

#include <memory>
#include <string>

#include "base/error.hpp"
#include "net/control/host_address_watch.hpp"
#include "net/control/management.hpp"
#include "net/control/worker_link.hpp"
#include "net/flow/echoes.hpp"
#include "net/flow/tcp_flows.hpp"
#include "net/flow/udp_pairs.hpp"
#include "net/resolve/dns_service.hpp"
#include "net/space/private_network.hpp"
#include "net/space/space_thread.hpp"
#include "wire/network_setup.hpp"

namespace microvm::net {

struct NetworkOrigin {
  base::Fd worker;
  base::Fd starter;
  base::Fd home;  // the Vm's directory
  std::string resolv_conf = "/etc/resolv.conf";
};

class Network {
 public:
  Network(sys::Loop& loop, NetworkOrigin origin);

  // Makes the private network, tells the worker, and gives up what is not needed any more. An
  // error was told to the worker.
  Result<void> start();

 private:
  Result<void> prepare();
  void make_flows();
  void first_packet(FrameView frame);
  void tell(const wire::UdpPair& pair);
  Result<void> change_setup(wire::NetworkSetup setup);
  void judge_again();

  sys::Loop& loop_;
  NetworkOrigin origin_;
  space::SpaceThread space_thread_;
  space::PrivateNetwork private_network_;
  wire::NetStatus status_;
  FlowLog log_;
  Judge judge_{{}};
  HostAddressWatch host_addresses_;
  Management management_;
  std::unique_ptr<GuestLink> link_;
  std::unique_ptr<Admission> admission_;
  Pace pace_;
  std::unique_ptr<TcpFlows> tcp_;
  std::unique_ptr<UdpPairs> udp_;
  std::unique_ptr<Echoes> echoes_;
  std::unique_ptr<DnsService> dns_;
  std::unique_ptr<WorkerLink> worker_;
};

}  // namespace microvm::net
