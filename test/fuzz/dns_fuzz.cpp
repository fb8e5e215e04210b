// DNS: messages of guests and of nameservers, by themselves and through the resolver. Whatever is
// made of them can be read again, and every question has one reply in time.
#include <cstdlib>

#include "net/dns/dns_parts.hpp"
#include "net/dns/dns_stream.hpp"
#include "net/dns/resolver.hpp"

using namespace microvm;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void answer_any_question(wire::ByteView bytes) {
  const auto question = net::read_question(bytes);
  if (!question) return;
  net::DnsQuery asked;
  asked.name = question->name;
  asked.type = question->type;
  const auto answer = net::parse_answer(bytes, asked);
  if (!answer) return;
  check(answer->addresses.size() <= net::kMaxDnsAddresses);
  const auto reply = net::make_reply(asked, *answer, std::chrono::seconds(5), net::kMaxDnsMessage);
  const auto again = net::parse_answer(reply, asked);
  check(again.has_value());
  check(answer->is_cut || again->addresses == answer->addresses);
}

// One query, then answers: the input's bytes behind an id that fits, as any nameserver can send.
void through_resolver(wire::ByteView query, wire::ByteView answer) {
  net::Resolver resolver(net::parse_resolv_conf("nameserver 192.0.2.1\nsearch a.example"),
                         [] { return uint16_t{0}; });
  net::Resolver::Time now{std::chrono::seconds(1000)};
  resolver.ask(1, query, false, now);
  const bool runs = resolver.lookups() == 1;
  size_t replies = resolver.take_replies().size();
  for (int step = 0; step < 20; ++step) {
    for (const auto& exchange : resolver.take_exchanges()) {
      check(net::parse_query(exchange.message).what == net::ParsedQuery::What::query);
      resolver.answered(exchange.id, answer, now);
    }
    now += std::chrono::milliseconds(500);
    resolver.tick(now);
    for (const auto& reply : resolver.take_replies()) {
      ++replies;
      check(reply.message.size() <= net::kMaxUdpReplyBytes);
    }
  }
  check(resolver.lookups() == 0 && replies <= 1 && (!runs || replies == 1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  answer_any_question(bytes);
  const size_t cut = std::min<size_t>(data[0], bytes.size());
  through_resolver(bytes.first(cut), bytes.subspan(cut));
  net::DnsStream stream(512);
  if (stream.feed(bytes)) {
    while (const auto message = stream.take()) (void)net::parse_query(*message);
  }
  return 0;
}
