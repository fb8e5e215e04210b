// Questions on their way to the host's nameservers, each on a socket of its own.
#pragma once

#include <functional>
#include <map>

#include "base/fd.hpp"
#include "net/dns/dns_stream.hpp"
#include "net/dns/resolver.hpp"
#include "sys/loop.hpp"

namespace microvm::net {

class Exchanges {
 public:
  struct Callbacks {
    std::function<void(Resolver::ExchangeId id, wire::ByteView message)> answered;
    std::function<void(Resolver::ExchangeId id)> failed;
  };
  Exchanges(sys::Loop& loop, Callbacks callbacks) : loop_(loop), callbacks_(std::move(callbacks)) {}
  ~Exchanges();
  Exchanges(const Exchanges&) = delete;
  Exchanges& operator=(const Exchanges&) = delete;

  // False: nothing could be sent.
  bool start(const Resolver::Exchange& exchange);
  void end(Resolver::ExchangeId id);

 private:
  struct Running {
    base::Fd socket;
    sys::Loop::WatchId watch = 0;
    wire::Bytes to_send;  // over TCP, once it is connected
    DnsStream stream{kMaxDnsMessage};
    bool over_tcp = false;
  };

  void on_ready(Resolver::ExchangeId id);
  void receive_datagram(Resolver::ExchangeId id, Running& running);
  void receive_stream(Resolver::ExchangeId id, Running& running);

  sys::Loop& loop_;
  Callbacks callbacks_;
  std::map<Resolver::ExchangeId, Running> running_;
};

}  // namespace microvm::net
