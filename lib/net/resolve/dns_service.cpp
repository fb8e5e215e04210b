#include "net/resolve/dns_service.hpp"

#include <sys/random.h>

#include <algorithm>
#include <utility>

namespace microvm::net {
namespace {

using Clock = std::chrono::steady_clock;

uint16_t random_number() {
  uint16_t number = 0;
  while (::getrandom(&number, sizeof number, 0) != sizeof number) {
  }
  return number;
}

}  // namespace

DnsService::DnsService(sys::Loop& loop, space::SpaceThread& space, GuestLink& link, Judge& judge,
                       FlowLog& log, wire::NetStatus& status, base::Fd starter,
                       const ResolvConf& conf)
    : loop_(loop),
      judge_(judge),
      log_(log),
      status_(status),
      resolver_(conf, random_number),
      host_conf_(loop, std::move(starter), conf,
                 [this](const ResolvConf& changed) { resolver_.set_conf(changed); }),
      exchanges_(loop, {[this](Resolver::ExchangeId id, wire::ByteView message) {
                          resolver_.answered(id, message, Clock::now());
                          go_on();
                        },
                        [this](Resolver::ExchangeId id) {
                          resolver_.failed(id, Clock::now());
                          go_on();
                        }}),
      clients_(loop, space, link,
               {[this](Resolver::Asker asker, wire::ByteView query, bool over_tcp) {
                  ask(asker, query, over_tcp);
                },
                [this](Resolver::Asker asker) { resolver_.forget(asker); }}) {
  renew();
}

DnsService::~DnsService() {
  if (timer_ != 0) loop_.cancel(timer_);
}

void DnsService::renew() {
  resolver_.hide_service_bindings(judge_.has_domains());
}

void DnsService::ask(Resolver::Asker asker, wire::ByteView query, bool over_tcp) {
  ++status_.dns_queries;
  host_conf_.look_again();
  resolver_.ask(asker, query, over_tcp, Clock::now());
  go_on();
}

// What it wants done may lead to more of it.
void DnsService::go_on() {
  if (std::exchange(goes_on_, true)) return;
  for (bool idle = false; !idle;) {
    const auto exchanges = resolver_.take_exchanges();
    const auto ended = resolver_.take_ended();
    const auto replies = resolver_.take_replies();
    for (const auto& exchange : exchanges) {
      if (!exchanges_.start(exchange)) resolver_.failed(exchange.id, Clock::now());
    }
    for (const auto id : ended) exchanges_.end(id);
    for (const auto& reply : replies) give(reply);
    idle = exchanges.empty() && ended.empty() && replies.empty();
  }
  goes_on_ = false;
  tick_later();
}

// Known before it is told: the guest may connect at once.
void DnsService::give(const Resolver::Reply& reply) {
  if (reply.is_failure) ++status_.dns_failed;
  for (const std::string& name : reply.names) {
    for (const auto& address : reply.addresses) {
      judge_.learned().learn(address, name, reply.ttl, Clock::now());
    }
  }
  FlowFacts facts;
  facts.protocol = wire::FlowProtocol::udp;
  if (!reply.addresses.empty()) facts.address = reply.addresses.front();
  if (!reply.name.empty()) facts.known_as.push_back(reply.name);
  log_.tell(wire::FlowRecord::What::name, facts, reply.is_failure ? "no answer" : "");
  clients_.reply(reply.asker, reply.message);
}

void DnsService::tick_later() {
  if (timer_ != 0) loop_.cancel(std::exchange(timer_, 0));
  const auto at = resolver_.next_tick();
  if (!at) return;
  timer_ = loop_.after(std::max(*at - Clock::now(), Clock::duration::zero()), [this] {
    timer_ = 0;
    resolver_.tick(Clock::now());
    go_on();
  });
}

}  // namespace microvm::net
