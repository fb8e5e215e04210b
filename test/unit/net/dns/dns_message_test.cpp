#include "net/dns/dns_message.hpp"

#include <doctest/doctest.h>

#include "made_message.hpp"

using namespace microvm;
using namespace microvm::net;
using namespace microvm::test;
using namespace std::chrono_literals;
using What = ParsedQuery::What;

namespace {

wire::Ipv6Address four(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d};
}

wire::Bytes whole_query() {
  return MadeMessage(0x1234, kQueryFlags).question("Example.org", 1).opt(1400, 0x8000).bytes();
}

const std::string kOne("\x01\x01\x01\x01");
const std::string kTwo("\x02\x02\x02\x02");
const std::string kThree("\x03\x03\x03\x03");

std::vector<wire::Ipv6Address> addresses_in(const MadeMessage& message,
                                            const DnsQuery& asked = query_for("a.example")) {
  const auto answer = parse_answer(message.bytes(), asked);
  REQUIRE(answer);
  return answer->addresses;
}

}  // namespace

TEST_CASE("dns query: what a client asks") {
  const ParsedQuery parsed = parse_query(whole_query());
  CHECK(parsed.what == What::query);
  CHECK(parsed.query.id == 0x1234);
  CHECK(parsed.query.name == wire_name_of("Example.org"));
  CHECK(parsed.query.type == 1);
  CHECK(parsed.query.wants_recursion);
  CHECK(parsed.query.has_edns);
  CHECK(parsed.query.dnssec_ok);
  CHECK(parsed.query.udp_bytes == 1400);
  const auto plain = parse_query(MadeMessage(1, 0x0030).question("a", 28).bytes());
  CHECK(plain.query.udp_bytes == 512);
  CHECK_FALSE(plain.query.wants_recursion);
  CHECK(plain.query.checking_disabled);
  CHECK(plain.query.authentic_data);
}

TEST_CASE("dns query: what is refused, and what is not even answered") {
  const auto error_of = [](const MadeMessage& message) {
    const ParsedQuery parsed = parse_query(message.bytes());
    CHECK(parsed.what == What::refuse);
    CHECK(parsed.query.id == 5);
    return parsed.error;
  };
  const auto made = [](uint16_t flags = kQueryFlags) { return MadeMessage(5, flags); };
  CHECK(error_of(made(0x2800).question("a", 1)) == dns::kNotImplemented);  // update
  CHECK(error_of(made()) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).question("b", 1)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).count(0, 0)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).a(kQuestionName, kOne)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).soa(1, 1)) == dns::kFormatError);
  CHECK(error_of(made().raw_question(pointer(12), 1)) == dns::kFormatError);
  CHECK(error_of(made().raw_question("\x01"
                                     "a" +
                                         pointer(0),
                                     1)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).opt(512).opt(512)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).opt(512).count(3, 2)) == dns::kFormatError);
  CHECK(error_of(made().question("a", 1).opt(512, 1 << 16)) == dns::kBadVersion);
  CHECK(error_of(made().question("a", 1, 3)) == dns::kRefused);
  CHECK(error_of(made().question("a", dns::kTypeAxfr)) == dns::kRefused);
  CHECK(error_of(made().question("a", dns::kTypeIxfr)) == dns::kRefused);
  CHECK(parse_query(made(kAnswerFlags).question("a", 1).bytes()).what == What::ignore);
  const wire::Bytes whole = whole_query();
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto what = parse_query(wire::ByteView(whole).first(size)).what;
    CHECK(what == (size < 12 ? What::ignore : What::refuse));
  }
}

TEST_CASE("dns query: upstream goes nothing but the question") {
  const DnsQuery asked = parse_query(whole_query()).query;
  const ParsedQuery sent = parse_query(make_query(asked, 99, true));
  CHECK(sent.query.id == 99);
  CHECK(sent.query.name == asked.name);
  CHECK(sent.query.dnssec_ok);
  CHECK(sent.query.udp_bytes == 1232);
  CHECK_FALSE(parse_query(make_query(asked, 99, false)).query.has_edns);
}

TEST_CASE("dns answer: the addresses at the end of the chain, in any order, and no others") {
  using Addresses = std::vector<wire::Ipv6Address>;
  const std::string b = wire_name_of("b.example");
  const std::string c = wire_name_of("C.example");
  CHECK(addresses_in(answer_for("A.example").a(kQuestionName, kOne).a(kQuestionName, kTwo)) ==
        Addresses{four(1, 1, 1, 1), four(2, 2, 2, 2)});
  CHECK(addresses_in(answer_for("a.example")
                         .a(c, kOne)
                         .cname(b, "c.example")
                         .cname(kQuestionName, "b.example")) == Addresses{four(1, 1, 1, 1)});
  // What the answer says besides of other names.
  CHECK(addresses_in(answer_for("a.example").a(kQuestionName, kOne).a(b, kTwo)) ==
        Addresses{four(1, 1, 1, 1)});
  CHECK(
      addresses_in(answer_for("a.example").cname(kQuestionName, "b.example").a(kQuestionName, kOne))
          .empty());
  CHECK(addresses_in(answer_for("a.example").record(2, kQuestionName, 1, 9, kOne)).empty());
  CHECK(addresses_in(answer_for("a.example").record(3, kQuestionName, 1, 9, kOne)).empty());
  CHECK(addresses_in(answer_for("a.example").record(1, kQuestionName, 1, 9, kOne, 3)).empty());
  CHECK(addresses_in(answer_for("a.example").a(kQuestionName, kOne + "x")).empty());
  CHECK(addresses_in(answer_for("a.example").record(1, kQuestionName, 28, 9, std::string(16, 2)))
            .empty());
  // Loops of aliases.
  CHECK(addresses_in(answer_for("a.example").cname(kQuestionName, "a.example")).empty());
  CHECK(addresses_in(answer_for("a.example")
                         .cname(kQuestionName, "b.example")
                         .cname(b, "a.example")
                         .a(kQuestionName, kThree))
            .size() <= 1);
  const auto six = addresses_in(
      answer_for("a.example", dns::kTypeAaaa).record(1, kQuestionName, 28, 9, std::string(16, 2)),
      query_for("a.example", dns::kTypeAaaa));
  CHECK(six.size() == 1);
}

TEST_CASE("dns answer: how long it counts") {
  const auto ttl_of = [](const MadeMessage& message) {
    return parse_answer(message.bytes(), query_for("a.example"))->ttl;
  };
  CHECK(ttl_of(answer_for("a.example").a(kQuestionName, kOne, 30).a(kQuestionName, kTwo, 20)) ==
        20s);
  CHECK(ttl_of(answer_for("a.example").a(kQuestionName, kOne, 86'400)) == 3600s);
  CHECK(ttl_of(answer_for("a.example").a(kQuestionName, kOne, 0x8000'0000)) == 0s);
  CHECK(ttl_of(answer_for("a.example", 1, dns::kNoSuchName).soa(50, 90)) == 50s);
  CHECK(ttl_of(answer_for("a.example").soa(90, 50)) == 50s);
  CHECK(ttl_of(answer_for("a.example").soa(9000, 9000)) == 300s);
  CHECK(ttl_of(answer_for("a.example", 1, dns::kNoSuchName)) == 0s);
}

TEST_CASE("dns answer: what is none to this question, or is malformed") {
  const auto is_answer = [](const MadeMessage& message) {
    return parse_answer(message.bytes(), query_for("a.example")).has_value();
  };
  CHECK(is_answer(answer_for("a.EXAMPLE")));
  CHECK_FALSE(is_answer(answer_for("b.example")));
  CHECK_FALSE(is_answer(answer_for("a.example", 28)));
  CHECK_FALSE(is_answer(MadeMessage(7, kAnswerFlags).question("a.example", 1, 3)));
  CHECK_FALSE(is_answer(MadeMessage(7, kQueryFlags).question("a.example", 1)));
  CHECK_FALSE(is_answer(MadeMessage(7, 0xa980).question("a.example", 1)));
  CHECK_FALSE(is_answer(MadeMessage(7, kAnswerFlags)));
  CHECK_FALSE(is_answer(answer_for("a.example").question("a.example", 1)));
  CHECK_FALSE(is_answer(answer_for("a.example").count(1, 1)));
  CHECK_FALSE(is_answer(answer_for("a.example").count(3, 1)));
  CHECK_FALSE(is_answer(answer_for("a.example").a("\x3f", kOne)));
  const wire::Bytes whole = answer_for("a.example").a(kQuestionName, kOne).soa(1, 1).opt(9).bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_answer(wire::ByteView(whole).first(size), query_for("a.example")));
  }
}

TEST_CASE("dns answer: 10^5 records, and as many as a message can hold") {
  CHECK_FALSE(parse_answer(answer_for("a.example").count(1, 65'535).count(2, 65'535).bytes(),
                           query_for("a.example")));
  MadeMessage full = answer_for("a.example");
  for (size_t i = 0; i < 4090; ++i) full.a(kQuestionName, kOne);
  CHECK_FALSE(parse_answer(full.bytes(), query_for("a.example")));
  MadeMessage many = answer_for("a.example");
  for (size_t i = 0; i < kMaxDnsRecords; ++i) many.a(kQuestionName, kOne);
  CHECK(addresses_in(many).size() == kMaxDnsAddresses);
}

TEST_CASE("dns answer: of one that is cut only the question is read") {
  MadeMessage cut(7, kAnswerFlags | 0x0200);
  cut.question("a.example", 1).count(1, 9).text("garbage");
  const auto answer = parse_answer(cut.bytes(), query_for("a.example"));
  REQUIRE(answer);
  CHECK(answer->is_cut);
  CHECK(answer->addresses.empty());
  const auto again =
      parse_answer(make_reply(query_for("a.example"), *answer, 0s, 512), query_for("a.example"));
  REQUIRE(again);
  CHECK(again->is_cut);
}

TEST_CASE("dns answer: EDNS adds bits to the error") {
  const auto answer =
      parse_answer(answer_for("a.example").opt(1232, 1u << 24).bytes(), query_for("a.example"));
  REQUIRE(answer);
  CHECK(answer->error == dns::kBadVersion);
}

TEST_CASE("dns reply: the answer in the words of who asked, without what is additional") {
  const auto answer = parse_answer(answer_for("a.example")
                                       .a(kQuestionName, kOne, 100)
                                       .a(kQuestionName, kTwo, 5000)
                                       .record(3, kQuestionName, 1, 9, kThree)
                                       .opt(1232)
                                       .bytes(),
                                   query_for("a.example"));
  REQUIRE(answer);
  DnsQuery query = query_for("A.eXample");
  query.id = 0x4321;
  const wire::Bytes reply = make_reply(query, *answer, 30s, 512);
  const auto read = parse_answer(reply, query);
  REQUIRE(read);
  CHECK(dns_id(reply) == 0x4321);
  CHECK(read->addresses == answer->addresses);
  CHECK(read->ttl == 70s);
  CHECK(read_question(reply)->name == query.name);
  CHECK(read_dns_header(reply)->additionals == 0);
  DnsWalk walk(reply, read_question(reply)->end);
  CHECK(walk.next()->ttl == 70);
  CHECK(walk.next()->ttl == 3570);
  query.has_edns = true;
  CHECK(read_dns_header(make_reply(query, *answer, 30s, 512))->additionals == 1);
  CHECK(make_reply(query, *answer, 30s, 512).size() == reply.size() + 11);
}

TEST_CASE("dns reply: what is too long is cut to the question") {
  MadeMessage many = answer_for("a.example");
  for (size_t i = 0; i < 50; ++i) many.a(kQuestionName, kOne);
  const auto answer = parse_answer(many.bytes(), query_for("a.example"));
  REQUIRE(answer);
  const wire::Bytes cut = make_reply(query_for("a.example"), *answer, 0s, 512);
  const auto read = parse_answer(cut, query_for("a.example"));
  REQUIRE(read);
  CHECK(read->is_cut);
  CHECK(cut.size() < 100);
  CHECK_FALSE(
      parse_answer(make_reply(query_for("a.example"), *answer, 0s, 1232), query_for("a.example"))
          ->is_cut);
}

TEST_CASE("dns reply: errors, also of what had no question") {
  DnsQuery query = query_for("a.example");
  const auto read = parse_answer(make_error(query, dns::kServerFailure), query);
  REQUIRE(read);
  CHECK(read->error == dns::kServerFailure);
  query.has_edns = true;
  CHECK(parse_answer(make_error(query, dns::kBadVersion), query)->error == dns::kBadVersion);
  DnsQuery none;
  none.id = 3;
  CHECK(make_error(none, dns::kFormatError).size() == 12);
}

TEST_CASE("dns reply: one that we made") {
  const DnsQuery query = query_for("db");
  const auto made = make_answer(query, {four(1, 2, 3, 4), four(5, 6, 7, 8)}, 60s);
  const auto read = parse_answer(make_reply(query, made, 10s, 512), query);
  REQUIRE(read);
  CHECK(read->addresses == made.addresses);
  CHECK(read->ttl == 50s);
}
