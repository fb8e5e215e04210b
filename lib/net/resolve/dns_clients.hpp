// The guest's side of the resolver: its two addresses in the private network, port 53. A question
// by UDP is read from its first packet, as the worker hands it over; one by TCP from a connection.
#pragma once

#include <array>
#include <functional>
#include <map>

#include "net/dns/dns_stream.hpp"
#include "net/dns/resolver.hpp"
#include "net/flow/guest_link.hpp"
#include "net/space/space_thread.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

class DnsClients {
 public:
  struct Callbacks {
    std::function<void(Resolver::Asker asker, wire::ByteView query, bool over_tcp)> asked;
    std::function<void(Resolver::Asker asker)> gone;
  };
  DnsClients(sys::Loop& loop, space::SpaceThread& space, GuestLink& link, Callbacks callbacks)
      : loop_(loop), space_(space), link_(link), callbacks_(std::move(callbacks)) {}
  ~DnsClients();
  DnsClients(const DnsClients&) = delete;
  DnsClients& operator=(const DnsClients&) = delete;

  // True: it was for the resolver.
  bool first_packet(const Packet& packet, FrameView frame);
  void reply(Resolver::Asker asker, wire::ByteView message);

 private:
  struct Listener {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
  };
  struct Connection {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
    sys::Loop::TimerId timer = 0;  // of its idle time
    DnsStream stream;
  };

  void take_datagram(const Packet& packet);
  void take_syn(const Packet& packet, FrameView frame);
  bool open_udp(bool is_ipv6);
  bool open_listener(bool is_ipv6);
  void accept_all(bool is_ipv6);
  void receive(Resolver::Asker asker);
  void close(Resolver::Asker asker);
  void reply_by_tcp(Resolver::Asker asker, wire::ByteView message);

  sys::Loop& loop_;
  space::SpaceThread& space_;
  GuestLink& link_;
  Callbacks callbacks_;
  // Of both families, made when they are first needed.
  std::array<base::Fd, 2> udp_;
  std::array<Listener, 2> listeners_;
  std::map<Resolver::Asker, Connection> connections_;
  Resolver::Asker next_connection_ = Resolver::Asker{1} << 32;  // ports are below
};

}  // namespace microvm::net
