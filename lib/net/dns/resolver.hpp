// The resolver that a guest sees, without sockets and clock: queries and answers go in, replies and
// what is to be sent come out. It asks the host's nameservers in the guest's place.
//
//   one exchange   one message to one nameserver, over a socket of its own (connected, so that its
//                  port is a new one and only the nameserver can answer); the answer must fit the
//                  random id and the question.
//   a lookup       one question, whoever asks it meanwhile; the nameservers in turn, the one that
//                  answered last first, until one says what is or that there is none. SERVFAIL
//                  after kAnswerWithin at the latest: before programs ask again or give up.
//   search         a name without a dot (A, AAAA) is tried below the host's search domains, and its
//                  addresses answered as the name's own. Guests have no search list themselves.
//
// After each call the caller takes what there is: take_exchanges(), take_ended(), take_replies();
// and calls tick() at next_tick().
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "net/dns/answer_cache.hpp"
#include "net/dns/dns_message.hpp"
#include "net/dns/resolv_conf.hpp"

namespace microvm::net {

class Resolver {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Random = std::function<uint16_t()>;
  using Asker = uint64_t;       // the caller's: a guest's socket and address
  using ExchangeId = uint64_t;  // ours; never used twice

  static constexpr std::chrono::milliseconds kAnswerWithin{4500};
  static constexpr size_t kMaxLookups = 128;
  static constexpr size_t kMaxAskers = 256;  // that wait, of all lookups

  struct Exchange {
    ExchangeId id = 0;
    Nameserver server;
    bool over_tcp = false;
    wire::Bytes message;  // without a length before it
  };

  struct Reply {
    Asker asker = 0;
    wire::Bytes message;
    bool is_failure = false;  // ours: no nameserver said anything that could be used
    std::string name;         // that was asked for, canonical; "" if it is no host's
    // What the guest learns by this reply: these names have these addresses, so long.
    std::vector<std::string> names;
    std::vector<wire::Ipv6Address> addresses;
    std::chrono::seconds ttl{0};
  };

  Resolver(ResolvConf conf, Random random);

  // Another configuration of the host. Lookups that run go on with it.
  void set_conf(ResolvConf conf);
  // Where names count, HTTPS and SVCB records are answered as if there were none: they lead clients
  // to hide the name (ECH) and to protocols that show none (QUIC).
  void hide_service_bindings(bool hides) { hides_service_bindings_ = hides; }

  void ask(Asker asker, wire::ByteView query, bool over_tcp, Time now);
  // Its client has gone: no reply is wanted.
  void forget(Asker asker);

  // What an exchange brought; wrong ids are ignored. Of one that has ended: nothing happens.
  void answered(ExchangeId exchange, wire::ByteView message, Time now);
  void failed(ExchangeId exchange, Time now);

  [[nodiscard]] std::optional<Time> next_tick() const;
  void tick(Time now);

  [[nodiscard]] std::vector<Exchange> take_exchanges() { return std::move(to_send_); }
  // Whose sockets are to be closed.
  [[nodiscard]] std::vector<ExchangeId> take_ended() { return std::move(ended_); }
  [[nodiscard]] std::vector<Reply> take_replies() { return std::move(replies_); }
  [[nodiscard]] size_t lookups() const { return lookups_.size(); }

 private:
  struct Waiting {
    Asker asker = 0;
    DnsQuery query;
    bool over_tcp = false;
  };
  struct Lookup {
    std::vector<Waiting> askers;
    DnsQuery question;  // of the first asker
    std::vector<WireName> candidates;
    size_t candidate = 0;
    size_t first_server = 0;
    size_t tries = 0;  // of this candidate
    bool with_edns = true;
    Time deadline;
    Time next_try;
    std::vector<ExchangeId> exchanges;
  };
  using Lookups = std::map<std::string, Lookup>;  // by key_of()
  struct Sent {
    std::string key;
    size_t server = 0;
    bool over_tcp = false;
    uint16_t id = 0;
    DnsQuery query;
  };

  void start(const std::string& key, Waiting waiting, Time now);
  [[nodiscard]] std::vector<WireName> candidates_of(const DnsQuery& query) const;
  void try_next(Lookups::iterator lookup, Time now);
  void send(Lookups::iterator lookup, size_t server, bool over_tcp);
  [[nodiscard]] size_t tries_of_candidate() const;
  [[nodiscard]] std::chrono::milliseconds try_time() const;
  Lookups::iterator end_exchange(ExchangeId exchange);
  void end_exchanges(Lookup& lookup);

  void use(Lookups::iterator lookup, const Sent& sent, DnsAnswer answer, Time now);
  void next_candidate(Lookups::iterator lookup, Time now);
  void give_up(Lookups::iterator lookup, Time now);
  void finish(Lookups::iterator lookup, const DnsAnswer& answer, Time now);
  void fail(Lookups::iterator lookup);
  void reply(const Waiting& to, const DnsAnswer& answer, std::chrono::seconds age);
  void reply_error(const Waiting& to, uint16_t error);

  ResolvConf conf_;
  Random random_;
  bool hides_service_bindings_ = false;
  AnswerCache cache_;
  Lookups lookups_;
  std::map<ExchangeId, Sent> sent_;
  ExchangeId next_exchange_ = 1;
  size_t best_server_ = 0;  // that answered last
  size_t waiting_ = 0;      // askers
  std::vector<Exchange> to_send_;
  std::vector<ExchangeId> ended_;
  std::vector<Reply> replies_;
};

}  // namespace microvm::net
