#include "net/dns/resolver.hpp"

#include <doctest/doctest.h>

#include "made_message.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using namespace std::chrono_literals;
using Exchange = Resolver::Exchange;
using Names = std::vector<std::string>;
using Reply = Resolver::Reply;

namespace {

const Resolver::Time kStart = Resolver::Time() + 1000s;
const std::string kFour("\xc0\x00\x02\x01", 4);  // 192.0.2.1
constexpr Resolver::Asker kAsker = 1;

wire::Bytes query_bytes(const std::string& name, uint16_t type = dns::kTypeA, uint16_t id = 7) {
  return MadeMessage(id, kQueryFlags).question(name, type).bytes();
}

// A resolver with one or more nameservers, whose exchanges the test answers.
class Bed {
 public:
  explicit Bed(const std::string& conf = "nameserver 10.9.9.1")
      : resolver(parse_resolv_conf(conf), [this] { return random += 13; }) {}

  void ask(const std::string& name, uint16_t type = dns::kTypeA, Resolver::Asker asker = kAsker) {
    resolver.ask(asker, query_bytes(name, type), false, now);
  }
  // The one exchange that there is now.
  Exchange sent() {
    auto exchanges = resolver.take_exchanges();
    REQUIRE(exchanges.size() == 1);
    return exchanges.front();
  }
  bool sends_nothing() { return resolver.take_exchanges().empty(); }
  void answer(const Exchange& exchange, MadeMessage message) {
    wire::Bytes bytes = message.bytes();
    std::copy_n(exchange.message.begin(), 2, bytes.begin());
    resolver.answered(exchange.id, bytes, now);
  }
  void answer_with_address(const Exchange& exchange, uint32_t ttl = 300) {
    MadeMessage message(0, kAnswerFlags);
    message.raw_question(question_of(exchange).name, question_of(exchange).type);
    answer(exchange, message.a(kQuestionName, kFour, ttl));
  }
  void answer_with_error(const Exchange& exchange, uint16_t error) {
    MadeMessage message(0, static_cast<uint16_t>(kAnswerFlags | error));
    message.raw_question(question_of(exchange).name, question_of(exchange).type);
    answer(exchange, message);
  }
  static DnsQuery question_of(const Exchange& exchange) {
    return parse_query(exchange.message).query;
  }
  static std::string name_in(const Exchange& exchange) {
    return text_of(question_of(exchange).name).value_or("");
  }
  Reply reply() {
    auto replies = resolver.take_replies();
    REQUIRE(replies.size() == 1);
    return replies.front();
  }
  static DnsAnswer read(const Reply& reply) {
    const auto question = read_question(reply.message);
    DnsQuery asked;
    asked.name = question->name;
    asked.type = question->type;
    return parse_answer(reply.message, asked).value_or(DnsAnswer{});
  }
  void pass(std::chrono::milliseconds time) {
    now += time;
    resolver.tick(now);
  }
  static uint8_t last_byte(const Exchange& exchange) { return exchange.server.address[15]; }

  uint16_t random = 1;
  Resolver resolver;
  Resolver::Time now = kStart;
};

}  // namespace

TEST_CASE("resolver: a question goes up, its answer comes down and is learned") {
  Bed bed;
  bed.ask("A.Example");
  const Exchange sent = bed.sent();
  CHECK(Bed::last_byte(sent) == 1);
  CHECK_FALSE(sent.over_tcp);
  CHECK(Bed::question_of(sent).id != 7);
  bed.answer_with_address(sent, 30);
  const Reply reply = bed.reply();
  CHECK(reply.asker == kAsker);
  CHECK(dns_id(reply.message) == 7);
  CHECK(Bed::read(reply).addresses.size() == 1);
  CHECK(reply.name == "a.example");
  CHECK(reply.names == Names{"a.example"});
  CHECK(reply.addresses.size() == 1);
  CHECK(reply.ttl == 30s);
  CHECK(bed.resolver.take_ended() == std::vector<Resolver::ExchangeId>{sent.id});
  CHECK_FALSE(bed.resolver.next_tick().has_value());
}

TEST_CASE("resolver: who asks again is answered from the cache, with what is left of the time") {
  Bed bed;
  bed.ask("a.example");
  bed.answer_with_address(bed.sent(), 100);
  (void)bed.reply();
  bed.now += 40s;
  bed.ask("A.EXAMPLE", dns::kTypeA, 2);
  CHECK(bed.sends_nothing());
  const Reply reply = bed.reply();
  CHECK(reply.asker == 2);
  CHECK(reply.ttl == 60s);
  CHECK(Bed::read(reply).ttl == 60s);
  CHECK(reply.names == Names{"a.example"});
  bed.now += 60s;
  bed.ask("a.example");
  CHECK_FALSE(bed.sends_nothing());
}

TEST_CASE("resolver: that there is none is kept too") {
  Bed bed;
  bed.ask("a.example");
  MadeMessage none(0, kAnswerFlags | dns::kNoSuchName);
  none.question("a.example", dns::kTypeA).soa(100, 20);
  bed.answer(bed.sent(), none);
  CHECK(Bed::read(bed.reply()).error == dns::kNoSuchName);
  bed.now += 19s;
  bed.ask("a.example");
  CHECK(bed.sends_nothing());
  CHECK(Bed::read(bed.reply()).error == dns::kNoSuchName);
  bed.now += 1s;
  bed.ask("a.example");
  CHECK_FALSE(bed.sends_nothing());
}

TEST_CASE("resolver: a nameserver that is silent: the next, again, and SERVFAIL in time") {
  Bed bed("nameserver 10.9.9.1\nnameserver 10.9.9.2");
  bed.ask("a.example");
  CHECK(Bed::last_byte(bed.sent()) == 1);
  for (const int server : {2, 1, 2}) {
    CHECK(bed.resolver.next_tick() == bed.now + 1125ms);
    bed.pass(1125ms);
    CHECK(Bed::last_byte(bed.sent()) == server);
  }
  bed.pass(1124ms);
  CHECK(bed.sends_nothing());
  CHECK(bed.resolver.take_replies().empty());
  bed.pass(1ms);
  const Reply reply = bed.reply();
  CHECK(reply.is_failure);
  CHECK(Bed::read(reply).error == dns::kServerFailure);
  CHECK(reply.names.empty());
  CHECK(bed.now == kStart + Resolver::kAnswerWithin);
  CHECK(bed.resolver.take_ended().size() == 4);
  CHECK(bed.resolver.lookups() == 0);
}

TEST_CASE("resolver: a late answer of an earlier try counts") {
  Bed bed("nameserver 10.9.9.1\nnameserver 10.9.9.2");
  bed.ask("a.example");
  const Exchange first = bed.sent();
  bed.pass(1200ms);
  const Exchange second = bed.sent();
  bed.answer_with_address(first);
  CHECK(Bed::read(bed.reply()).addresses.size() == 1);
  bed.answer_with_address(second);  // nobody waits any more
  CHECK(bed.resolver.take_replies().empty());
}

TEST_CASE("resolver: the nameserver that answered last is asked first") {
  Bed bed("nameserver 10.9.9.1\nnameserver 10.9.9.2");
  bed.ask("a.example");
  bed.resolver.failed(bed.sent().id, bed.now);
  bed.answer_with_address(bed.sent());
  bed.ask("b.example");
  CHECK(Bed::last_byte(bed.sent()) == 2);
}

TEST_CASE("resolver: refusals and failures go to the next nameserver at once") {
  for (const uint16_t error : {dns::kServerFailure, dns::kRefused}) {
    Bed bed("nameserver 10.9.9.1\nnameserver 10.9.9.2\noptions attempts:1");
    bed.ask("a.example");
    bed.answer_with_error(bed.sent(), error);
    bed.answer_with_error(bed.sent(), error);
    CHECK(bed.reply().is_failure);
    CHECK(bed.now == kStart);
  }
}

TEST_CASE("resolver: wrong ids are passed over, malformed answers are failures") {
  Bed bed("nameserver 10.9.9.1\noptions attempts:1");
  bed.ask("a.example");
  const Exchange sent = bed.sent();
  wire::Bytes forged = answer_for("a.example").a(kQuestionName, kFour).bytes();
  put_big_endian(forged, uint16_t{0});
  std::copy_n(sent.message.begin(), 2, forged.begin());
  forged[1] ^= std::byte{1};
  bed.resolver.answered(sent.id, forged, bed.now);
  bed.resolver.answered(sent.id, {}, bed.now);
  bed.resolver.answered(sent.id + 1, forged, bed.now);
  CHECK(bed.resolver.take_replies().empty());
  bed.answer(sent, answer_for("other.example").a(kQuestionName, kFour));
  CHECK(bed.reply().is_failure);
}

TEST_CASE("resolver: an answer that is cut is asked for over TCP") {
  Bed bed;
  bed.ask("a.example");
  const Exchange sent = bed.sent();
  MadeMessage cut(0, kAnswerFlags | 0x0200);
  bed.answer(sent, cut.question("a.example", dns::kTypeA));
  const Exchange again = bed.sent();
  CHECK(again.over_tcp);
  CHECK(Bed::last_byte(again) == Bed::last_byte(sent));
  bed.answer_with_address(again);
  CHECK(Bed::read(bed.reply()).addresses.size() == 1);
  Bed always("nameserver 10.9.9.1\noptions use-vc");
  always.ask("a.example");
  CHECK(always.sent().over_tcp);
}

TEST_CASE("resolver: what is cut for the asker is not learned by it") {
  Bed bed;
  bed.ask("a.example");
  MadeMessage many(0, kAnswerFlags);
  many.question("a.example", dns::kTypeA);
  for (int i = 0; i < 50; ++i) many.a(kQuestionName, kFour);
  bed.answer(bed.sent(), many);
  CHECK(bed.reply().addresses.empty());
  bed.resolver.ask(kAsker, query_bytes("a.example"), true, bed.now);
  CHECK(bed.reply().addresses.size() == 50);
}

TEST_CASE("resolver: a nameserver that does not know EDNS is asked without") {
  Bed bed;
  bed.ask("a.example");
  const Exchange first = bed.sent();
  CHECK(Bed::question_of(first).has_edns);
  bed.answer_with_error(first, dns::kFormatError);
  const Exchange second = bed.sent();
  CHECK_FALSE(Bed::question_of(second).has_edns);
  bed.answer_with_error(second, dns::kFormatError);
  CHECK_FALSE(bed.sends_nothing());  // its second attempt
}

TEST_CASE("resolver: a name without a dot is tried below the search domains") {
  Bed bed("nameserver 10.9.9.1\nsearch corp.example b.example");
  bed.ask("DB");
  Exchange sent = bed.sent();
  CHECK(Bed::name_in(sent) == "db.corp.example");
  bed.answer_with_error(sent, dns::kNoSuchName);
  sent = bed.sent();
  CHECK(Bed::name_in(sent) == "db.b.example");
  bed.answer_with_address(sent, 50);
  const Reply reply = bed.reply();
  CHECK(read_question(reply.message)->name == wire_name_of("DB"));
  CHECK(Bed::read(reply).addresses.size() == 1);
  CHECK(Bed::read(reply).ttl == 50s);
  CHECK(reply.names == Names{"db"});
  bed.ask("db");
  CHECK(bed.sends_nothing());
}

TEST_CASE("resolver: the name itself decides when no search domain has it") {
  Bed bed("nameserver 10.9.9.1\nsearch corp.example\noptions attempts:1");
  bed.ask("db");
  bed.answer_with_error(bed.sent(), dns::kServerFailure);
  const Exchange sent = bed.sent();
  CHECK(Bed::name_in(sent) == "db");
  bed.answer_with_error(sent, dns::kNoSuchName);
  CHECK(Bed::read(bed.reply()).error == dns::kNoSuchName);
  // With a dot, or of another type, it is not tried at all.
  bed.ask("a.example");
  CHECK(Bed::name_in(bed.sent()) == "a.example");
  bed.ask("db", 16);
  CHECK(Bed::name_in(bed.sent()) == "db");
  Bed none("nameserver 10.9.9.1\nsearch corp.example\noptions ndots:0");
  none.ask("db");
  CHECK(Bed::name_in(none.sent()) == "db");
}

TEST_CASE("resolver: one lookup for all who ask the same") {
  Bed bed;
  bed.ask("a.example", dns::kTypeA, 1);
  bed.ask("A.example", dns::kTypeA, 2);
  bed.ask("a.example", dns::kTypeA, 3);
  bed.resolver.forget(3);
  bed.answer_with_address(bed.sent());
  const auto replies = bed.resolver.take_replies();
  REQUIRE(replies.size() == 2);
  CHECK(replies[0].asker == 1);
  CHECK(replies[1].asker == 2);
  CHECK(read_question(replies[1].message)->name == wire_name_of("A.example"));
}

TEST_CASE("resolver: bounded, what is too much fails at once") {
  Bed bed;
  for (size_t i = 0; i < Resolver::kMaxLookups; ++i) bed.ask("n" + std::to_string(i) + ".example");
  CHECK(bed.resolver.take_replies().empty());
  bed.ask("more.example");
  CHECK(bed.reply().is_failure);
  for (size_t i = Resolver::kMaxLookups; i < Resolver::kMaxAskers; ++i) bed.ask("n1.example");
  CHECK(bed.resolver.take_replies().empty());
  bed.ask("n1.example");
  CHECK(bed.reply().is_failure);
  CHECK(bed.resolver.take_exchanges().size() == Resolver::kMaxLookups);
  bed.pass(Resolver::kAnswerWithin);
  CHECK(bed.resolver.take_replies().size() == Resolver::kMaxAskers);
  bed.ask("more.example");
  CHECK_FALSE(bed.sends_nothing());
}

TEST_CASE("resolver: queries that are none") {
  Bed bed;
  bed.resolver.ask(kAsker, wire::as_bytes("short"), false, bed.now);
  bed.resolver.ask(kAsker, answer_for("a.example").bytes(), false, bed.now);
  CHECK(bed.resolver.take_replies().empty());
  bed.resolver.ask(kAsker, query_bytes("a.example", dns::kTypeAxfr), true, bed.now);
  CHECK(Bed::read(bed.reply()).error == dns::kRefused);
  CHECK(bed.sends_nothing());
}

TEST_CASE("resolver: service bindings are there, unless names count") {
  Bed bed;
  bed.ask("a.example", dns::kTypeHttps);
  CHECK_FALSE(bed.sends_nothing());
  bed.resolver.hide_service_bindings(true);
  bed.ask("b.example", dns::kTypeHttps);
  CHECK(bed.sends_nothing());
  CHECK(Bed::read(bed.reply()).error == dns::kNoError);
}

TEST_CASE("resolver: another configuration of the host") {
  Bed bed("nameserver 10.9.9.1\nnameserver 10.9.9.2\nnameserver 10.9.9.3");
  bed.ask("a.example");
  bed.answer_with_address(bed.sent());
  (void)bed.reply();
  bed.ask("running.example");
  (void)bed.sent();
  bed.pass(750ms);
  const Exchange running = bed.sent();
  bed.resolver.set_conf(parse_resolv_conf("nameserver 10.9.9.7"));
  bed.ask("a.example");  // the cache was of other nameservers
  CHECK(Bed::last_byte(bed.sent()) == 7);
  bed.answer_with_error(running, dns::kServerFailure);
  while (bed.resolver.lookups() > 0) bed.pass(500ms);
  for (const Exchange& exchange : bed.resolver.take_exchanges()) {
    CHECK(Bed::last_byte(exchange) == 7);
  }
}
