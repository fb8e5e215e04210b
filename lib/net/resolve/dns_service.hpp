// The resolver with its sockets: the guest asks, the host's nameservers are asked in its place, and
// what it is answered is what it knows addresses by.
#pragma once

#include "net/flow/flow_log.hpp"
#include "net/flow/judge.hpp"
#include "net/resolve/dns_clients.hpp"
#include "net/resolve/exchanges.hpp"
#include "net/resolve/host_conf.hpp"

namespace microvm::net {

class DnsService {
 public:
  // `conf`: the host's, as it was when this process could still read it.
  DnsService(sys::Loop& loop, space::SpaceThread& space, GuestLink& link, Judge& judge,
             FlowLog& log, wire::NetStatus& status, base::Fd starter, const ResolvConf& conf);
  ~DnsService();
  DnsService(const DnsService&) = delete;
  DnsService& operator=(const DnsService&) = delete;

  // True: it was for the resolver.
  bool first_packet(const Packet& packet, FrameView frame) {
    return clients_.first_packet(packet, frame);
  }
  // The policy is another one.
  void renew();

 private:
  void ask(Resolver::Asker asker, wire::ByteView query, bool over_tcp);
  // Does all that the resolver wants done.
  void go_on();
  void give(const Resolver::Reply& reply);
  void tick_later();

  sys::Loop& loop_;
  Judge& judge_;
  FlowLog& log_;
  wire::NetStatus& status_;
  Resolver resolver_;
  HostConf host_conf_;
  Exchanges exchanges_;
  DnsClients clients_;
  sys::Loop::TimerId timer_ = 0;  // 0: none
  bool goes_on_ = false;
};

}  // namespace microvm::net
