// The resolver in the real process, with a nameserver that answers wrongly or not at all, and a
// guest that asks without end. Every question has one answer in time.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "net/answering_server.hpp"
#include "net/flow/packet.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "unit/net/dns/made_message.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace std::chrono_literals;
using net::space::SocketType;

namespace {

using Sent = std::vector<wire::Bytes>;

const std::string kSomeAddress("\xc6\x33\x64\x01");  // 198.51.100.1

struct WrongRow {
  const char* name;
  AnsweringServer::Answers answers;
};

MadeMessage answer_to(const net::DnsQuery& query, uint16_t flags = kAnswerFlags) {
  MadeMessage message(0, flags);
  message.raw_question(query.name, query.type);
  return message;
}

wire::Bytes with_records(const net::DnsQuery& query, size_t count) {
  MadeMessage message = answer_to(query);
  for (size_t i = 0; i < count; ++i) message.a(kQuestionName, kSomeAddress);
  return message.bytes();
}

// Each is answered over UDP and TCP alike.
std::vector<WrongRow> wrong_answers() {
  using net::DnsQuery;
  return {
      {"short.example", [](const DnsQuery&) { return Sent{wire::Bytes(5)}; }},
      {"empty.example", [](const DnsQuery&) { return Sent{wire::Bytes()}; }},
      {"garbage.example", [](const DnsQuery&) { return Sent{wire::Bytes(500, std::byte{0xc0})}; }},
      {"other.example",
       [](const DnsQuery&) {
         return Sent{answer_for("evil.example").a(kQuestionName, kSomeAddress).bytes()};
       }},
      {"type.example",
       [](const DnsQuery&) { return Sent{answer_for("type.example", 16).bytes()}; }},
      {"query.example",
       [](const DnsQuery& query) { return Sent{answer_to(query, kQueryFlags).bytes()}; }},
      {"loop.example",
       [](const DnsQuery& query) {
         const size_t at = 12 + query.name.size() + 4;
         return Sent{answer_to(query).a(pointer(at), kSomeAddress).bytes(),
                     answer_to(query).record(1, pointer(at + 2), 1, 1, kSomeAddress).bytes()};
       }},
      {"counts.example",
       [](const DnsQuery& query) {
         return Sent{answer_to(query).count(1, 65'535).count(2, 65'535).bytes()};
       }},
      {"records.example", [](const DnsQuery& query) { return Sent{with_records(query, 4000)}; }},
      {"cut.example",
       [](const DnsQuery& query) {
         wire::Bytes whole = with_records(query, 3);
         whole.resize(whole.size() - 2);
         return Sent{whole};
       }},
      {"always_cut.example",
       [](const DnsQuery& query) { return Sent{answer_to(query, kAnswerFlags | 0x0200).bytes()}; }},
      {"failing.example",
       [](const DnsQuery& query) {
         return Sent{net::make_error(query, net::dns::kServerFailure)};
       }},
      {"refusing.example",
       [](const DnsQuery& query) { return Sent{net::make_error(query, net::dns::kRefused)}; }},
      {"format.example",
       [](const DnsQuery& query) { return Sent{net::make_error(query, net::dns::kFormatError)}; }},
  };
}

NetworkOptions with_server() {
  return {.setup = allow_all(), .resolv_conf = AnsweringServer::kResolvConf};
}

}  // namespace

TEST_CASE(
    "resolver: whatever a nameserver answers, the guest has SERVFAIL in time and no address") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(with_server());
  for (const WrongRow& row : wrong_answers()) {
    CAPTURE(row.name);
    server.set(row.name, row.answers);
    const auto began = std::chrono::steady_clock::now();
    const auto answer = ask_as_guest(network, row.name, net::dns::kTypeA);
    REQUIRE(answer);
    // An alias or an owner that can not be read is an answer without an address.
    const bool is_loop = std::string(row.name) == "loop.example";
    CHECK((answer->error == net::dns::kServerFailure || is_loop));
    CHECK(answer->addresses.empty());
    CHECK(std::chrono::steady_clock::now() - began < 5s);
  }
  server.set("good.example", {"198.51.100.1"});
  const auto good = ask_as_guest(network, "good.example", net::dns::kTypeA);
  REQUIRE(good);
  CHECK(good->addresses.size() == 1);
  CHECK(network.status().dns_failed >= wrong_answers().size() - 1);
}

TEST_CASE("resolver: nameservers that are silent hold up no other question, and are bounded") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(with_server());
  server.set("good.example", {"198.51.100.1"});
  // More than may run at a time; who is too much fails at once.
  const base::Fd guest = network.guest_socket(SocketType::udp4);
  REQUIRE(network.connect_guest(guest.get(), net::resolver_endpoint(false, 53)) == 0);
  constexpr size_t kAsked = 300;
  const auto began = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kAsked; ++i) {
    const std::string name = "silent" + std::to_string(i) + ".example";
    server.set(name, [](const net::DnsQuery&) { return Sent(); });
    const wire::Bytes query = net::make_query(query_for(name), static_cast<uint16_t>(i), false);
    REQUIRE(::send(guest.get(), query.data(), query.size(), 0) > 0);
    std::this_thread::sleep_for(1ms);
  }
  size_t replies = 0;
  while (replies < kAsked && !receive_text(guest.get()).empty()) ++replies;
  CHECK(replies == kAsked);
  CHECK(std::chrono::steady_clock::now() - began < 8s);
  const auto good = ask_as_guest(network, "good.example", net::dns::kTypeA);
  REQUIRE(good);
  CHECK(good->addresses.size() == 1);
}

TEST_CASE("resolver: an answer that is long comes over TCP") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(with_server());
  server.set("long.example",
             [](const net::DnsQuery& query) { return Sent{with_records(query, 500)}; });
  const auto cut = ask_as_guest(network, "long.example", net::dns::kTypeA);
  REQUIRE(cut);
  CHECK(cut->is_cut);
  const auto whole = ask_as_guest(network, "long.example", net::dns::kTypeA, true);
  REQUIRE(whole);
  CHECK(whole->addresses.size() == net::kMaxDnsAddresses);
}

TEST_CASE("resolver: what a guest sends that is no question is answered or ignored, and no more") {
  if (!enter_test_host()) return;
  AnsweringServer server;
  NetworkUnderTest network(with_server());
  server.set("good.example", {"198.51.100.1"});
  const base::Fd guest = network.guest_socket(SocketType::udp4);
  REQUIRE(network.connect_guest(guest.get(), net::resolver_endpoint(false, 53)) == 0);
  const std::vector<wire::Bytes> wrong{
      wire::Bytes(1),
      wire::Bytes(11),
      wire::Bytes(60'000, std::byte{0xff}),
      answer_for("good.example").bytes(),
      MadeMessage(7, kQueryFlags).raw_question(pointer(12), 1).bytes(),
      MadeMessage(7, kQueryFlags).question("good.example", 1).count(3, 65'535).bytes(),
      MadeMessage(7, kQueryFlags).question("good.example", net::dns::kTypeAxfr).bytes()};
  for (const wire::Bytes& bytes : wrong) {
    REQUIRE(::send(guest.get(), bytes.data(), bytes.size(), 0) > 0);
  }
  const base::Fd stream = network.guest_socket(SocketType::tcp4);
  REQUIRE(network.connect_guest(stream.get(), net::resolver_endpoint(false, 53)) == 0);
  send_text(stream.get(), "\xff\xff" + std::string(2000, 'x'));
  REQUIRE(becomes_readable(stream.get()));
  CHECK(receive_text(stream.get()).empty());
  const auto good = ask_as_guest(network, "good.example", net::dns::kTypeA);
  REQUIRE(good);
  CHECK(good->addresses.size() == 1);
}
