#include "net/dns/resolver.hpp"

#include <algorithm>

#include "net/dns/dns_parts.hpp"

namespace microvm::net {
namespace {

constexpr std::chrono::milliseconds kShortestTry{500};

// What is the same question, and the same answer.
std::string key_of(const DnsQuery& query) {
  std::string key = folded(query.name);
  key += static_cast<char>(query.type >> 8);
  key += static_cast<char>(query.type);
  key += static_cast<char>((query.dnssec_ok ? 1 : 0) | (query.checking_disabled ? 2 : 0) |
                           (query.authentic_data ? 4 : 0));
  return key;
}

bool is_of_address(const DnsQuery& query) {
  return query.type == dns::kTypeA || query.type == dns::kTypeAaaa;
}

bool is_single_label(const WireName& name) {
  return name.size() > 2 && static_cast<uint8_t>(name[0]) + size_t{2} == name.size();
}

DnsQuery with_name(DnsQuery query, const WireName& name) {
  query.name = name;
  return query;
}

bool may_dislike_edns(uint16_t error) {
  return error == dns::kFormatError || error == dns::kNotImplemented || error == dns::kBadVersion;
}

bool is_final(uint16_t error) {
  return error == dns::kNoError || error == dns::kNoSuchName;
}

}  // namespace

Resolver::Resolver(ResolvConf conf, Random random)
    : conf_(std::move(conf)), random_(std::move(random)) {}

void Resolver::set_conf(ResolvConf conf) {
  if (conf == conf_) return;
  conf_ = std::move(conf);
  best_server_ = 0;
  cache_.clear();
}

void Resolver::ask(Asker asker, wire::ByteView message, bool over_tcp, Time now) {
  ParsedQuery parsed = parse_query(message);
  if (parsed.what == ParsedQuery::What::ignore) return;
  Waiting waiting{.asker = asker, .query = std::move(parsed.query), .over_tcp = over_tcp};
  if (parsed.what == ParsedQuery::What::refuse) return reply_error(waiting, parsed.error);
  const uint16_t type = waiting.query.type;
  if (hides_service_bindings_ && (type == dns::kTypeHttps || type == dns::kTypeSvcb)) {
    return reply_error(waiting, dns::kNoError);
  }
  const std::string key = key_of(waiting.query);
  if (const auto found = cache_.find(key, now); found.answer != nullptr) {
    return reply(waiting, *found.answer, found.age);
  }
  start(key, std::move(waiting), now);
}

void Resolver::start(const std::string& key, Waiting waiting, Time now) {
  const bool runs = lookups_.contains(key);
  if (waiting_ >= kMaxAskers || (!runs && lookups_.size() >= kMaxLookups)) {
    return reply_error(waiting, dns::kServerFailure);
  }
  ++waiting_;
  const auto lookup = lookups_.try_emplace(key).first;
  lookup->second.askers.push_back(std::move(waiting));
  if (runs) return;
  lookup->second.question = lookup->second.askers.front().query;
  lookup->second.candidates = candidates_of(lookup->second.question);
  lookup->second.first_server = best_server_;
  lookup->second.deadline = now + kAnswerWithin;
  try_next(lookup, now);
}

void Resolver::forget(Asker asker) {
  for (auto& [key, lookup] : lookups_) {
    waiting_ -= std::erase_if(lookup.askers,
                              [&](const Waiting& waiting) { return waiting.asker == asker; });
  }
}

// The name itself comes last: it is its answer that counts if none has an address.
std::vector<WireName> Resolver::candidates_of(const DnsQuery& query) const {
  std::vector<WireName> candidates;
  if (is_of_address(query) && is_single_label(query.name) && conf_.ndots > 0) {
    for (const std::string& domain : conf_.search) {
      const WireName below = query.name.substr(0, query.name.size() - 1) + wire_name_of(domain);
      if (below.size() <= kMaxWireNameBytes) candidates.push_back(below);
    }
  }
  candidates.push_back(query.name);
  return candidates;
}

size_t Resolver::tries_of_candidate() const {
  return conf_.nameservers.size() * conf_.attempts;
}

// As many tries as the host's configuration wants, in the time that there is.
std::chrono::milliseconds Resolver::try_time() const {
  const auto share = kAnswerWithin / std::max<size_t>(tries_of_candidate(), 1);
  return std::clamp<std::chrono::milliseconds>(share, kShortestTry, conf_.timeout);
}

// Answers of earlier tries still count: their exchanges stay until the lookup ends.
void Resolver::try_next(Lookups::iterator lookup, Time now) {
  Lookup& it = lookup->second;
  if (it.tries >= tries_of_candidate()) {
    it.next_try = it.deadline;
    if (it.exchanges.empty()) give_up(lookup, now);
    return;
  }
  const size_t server = (it.first_server + it.tries) % conf_.nameservers.size();
  ++it.tries;
  it.next_try = now + try_time();
  send(lookup, server, conf_.uses_tcp);
}

void Resolver::send(Lookups::iterator lookup, size_t server, bool over_tcp) {
  Lookup& it = lookup->second;
  Sent sent;
  sent.key = lookup->first;
  sent.server = server;
  sent.over_tcp = over_tcp;
  sent.id = random_();
  sent.query = with_name(it.question, it.candidates[it.candidate]);
  to_send_.push_back({.id = next_exchange_,
                      .server = conf_.nameservers[server],
                      .over_tcp = over_tcp,
                      .message = make_query(sent.query, sent.id, it.with_edns)});
  it.exchanges.push_back(next_exchange_);
  sent_.emplace(next_exchange_++, std::move(sent));
}

Resolver::Lookups::iterator Resolver::end_exchange(ExchangeId exchange) {
  const auto sent = sent_.find(exchange);
  const auto lookup = lookups_.find(sent->second.key);
  std::erase(lookup->second.exchanges, exchange);
  sent_.erase(sent);
  ended_.push_back(exchange);
  return lookup;
}

void Resolver::end_exchanges(Lookup& lookup) {
  for (const ExchangeId exchange : lookup.exchanges) {
    sent_.erase(exchange);
    ended_.push_back(exchange);
  }
  lookup.exchanges.clear();
}

void Resolver::answered(ExchangeId exchange, wire::ByteView message, Time now) {
  const auto found = sent_.find(exchange);
  if (found == sent_.end()) return;
  if (message.size() < kDnsHeaderBytes || dns_id(message) != found->second.id) return;
  const Sent sent = found->second;
  auto answer = parse_answer(message, sent.query);
  const auto lookup = end_exchange(exchange);
  if (!answer || sent.server >= conf_.nameservers.size()) return try_next(lookup, now);
  use(lookup, sent, std::move(*answer), now);
}

void Resolver::use(Lookups::iterator lookup, const Sent& sent, DnsAnswer answer, Time now) {
  Lookup& it = lookup->second;
  if (answer.is_cut && !sent.over_tcp) return send(lookup, sent.server, true);
  if (it.with_edns && may_dislike_edns(answer.error)) {
    it.with_edns = false;
    return send(lookup, sent.server, sent.over_tcp);
  }
  if (answer.is_cut || !is_final(answer.error)) return try_next(lookup, now);
  best_server_ = sent.server;
  const bool is_alias = it.candidate + 1 < it.candidates.size();
  if (!is_alias) return finish(lookup, answer, now);
  if (answer.addresses.empty()) return next_candidate(lookup, now);
  finish(lookup, make_answer(it.question, answer.addresses, answer.ttl), now);
}

void Resolver::next_candidate(Lookups::iterator lookup, Time now) {
  Lookup& it = lookup->second;
  end_exchanges(it);
  ++it.candidate;
  it.tries = 0;
  it.first_server = best_server_;
  try_next(lookup, now);
}

// A search domain that nobody answers for is not the name's end.
void Resolver::give_up(Lookups::iterator lookup, Time now) {
  const Lookup& it = lookup->second;
  if (it.candidate + 1 < it.candidates.size()) return next_candidate(lookup, now);
  fail(lookup);
}

void Resolver::failed(ExchangeId exchange, Time now) {
  if (!sent_.contains(exchange)) return;
  try_next(end_exchange(exchange), now);
}

void Resolver::finish(Lookups::iterator lookup, const DnsAnswer& answer, Time now) {
  end_exchanges(lookup->second);
  cache_.keep(lookup->first, answer, now);
  for (const Waiting& waiting : lookup->second.askers) {
    reply(waiting, answer, std::chrono::seconds(0));
  }
  waiting_ -= lookup->second.askers.size();
  lookups_.erase(lookup);
}

void Resolver::fail(Lookups::iterator lookup) {
  end_exchanges(lookup->second);
  for (const Waiting& waiting : lookup->second.askers) {
    reply_error(waiting, dns::kServerFailure);
  }
  waiting_ -= lookup->second.askers.size();
  lookups_.erase(lookup);
}

// What was cut off is not learned: who wants it comes again over TCP.
void Resolver::reply(const Waiting& to, const DnsAnswer& answer, std::chrono::seconds age) {
  Reply out;
  out.asker = to.asker;
  out.name = text_of(to.query.name).value_or("");
  const size_t max_bytes = to.over_tcp ? kMaxDnsMessage : to.query.udp_bytes;
  out.message = make_reply(to.query, answer, age, max_bytes);
  const auto sent = read_dns_header(out.message);
  if (sent && (sent->flags & kTruncated) == 0 && !out.name.empty()) {
    out.names = {out.name};
    out.addresses = answer.addresses;
    out.ttl = answer.ttl - age;
  }
  replies_.push_back(std::move(out));
}

void Resolver::reply_error(const Waiting& to, uint16_t error) {
  Reply out;
  out.asker = to.asker;
  out.name = text_of(to.query.name).value_or("");
  out.is_failure = error == dns::kServerFailure;
  out.message = make_error(to.query, error);
  replies_.push_back(std::move(out));
}

std::optional<Resolver::Time> Resolver::next_tick() const {
  std::optional<Time> next;
  for (const auto& [key, lookup] : lookups_) {
    const Time at = std::min(lookup.next_try, lookup.deadline);
    if (!next || at < *next) next = at;
  }
  return next;
}

void Resolver::tick(Time now) {
  for (auto it = lookups_.begin(); it != lookups_.end();) {
    const auto lookup = it++;
    if (lookup->second.deadline <= now) {
      fail(lookup);
    } else if (lookup->second.next_try <= now) {
      try_next(lookup, now);
    }
  }
}

}  // namespace microvm::net
