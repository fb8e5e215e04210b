#include "net/answering_server.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "net/dns/dns_stream.hpp"
#include "net/flow/address.hpp"
#include "net/flow/packet.hpp"
#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "unit/net/dns/made_message.hpp"

namespace microvm::test {
namespace {

constexpr const char* kServerAddress = "192.0.2.99";  // as in kResolvConf

std::vector<wire::Bytes> addresses_for(const net::DnsQuery& query,
                                       const std::vector<std::string>& addresses, uint32_t ttl) {
  std::vector<wire::Ipv6Address> fitting;
  for (const std::string& text : addresses) {
    const auto made = endpoint(text, 0);
    if (net::is_ipv4(made) == (query.type == net::dns::kTypeA)) fitting.push_back(made.address);
  }
  const auto answer = net::make_answer(query, fitting, std::chrono::seconds(ttl));
  return {net::make_reply(query, answer, std::chrono::seconds(0), net::kMaxDnsMessage)};
}

}  // namespace

AnsweringServer::AnsweringServer()
    : udp_(bind_udp(endpoint(kServerAddress, 53))), tcp_(listen_tcp(endpoint(kServerAddress, 53))) {
  thread_ = std::thread([this] { serve(); });
}

AnsweringServer::~AnsweringServer() {
  end_.raise();
  thread_.join();
}

void AnsweringServer::set(const std::string& name, const std::vector<std::string>& addresses,
                          uint32_t ttl) {
  set(name, [addresses, ttl](const net::DnsQuery& query) {
    return addresses_for(query, addresses, ttl);
  });
}

void AnsweringServer::set(const std::string& name, Answers answers) {
  const std::lock_guard lock(mutex_);
  answers_[name] = std::move(answers);
}

size_t AnsweringServer::queries() {
  const std::lock_guard lock(mutex_);
  return queries_;
}

void AnsweringServer::serve() {
  std::array<pollfd, 3> all{
      {{end_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}}};
  while (::poll(all.data(), all.size(), -1) > 0 && all[0].revents == 0) {
    if (all[1].revents != 0) answer_datagram();
    if (all[2].revents != 0) answer_stream();
  }
}

void AnsweringServer::answer_datagram() {
  wire::Bytes query(net::kMaxDnsMessage);
  net::SocketAddress peer;
  const ssize_t got = ::recvfrom(udp_.get(), query.data(), query.size(), 0, peer.raw(), &peer.size);
  if (got < 0) return;
  query.resize(static_cast<size_t>(got));
  for (const wire::Bytes& answer : answers_to(query)) {
    ::sendto(udp_.get(), answer.data(), answer.size(), 0, peer.raw(), peer.size);
  }
}

void AnsweringServer::answer_stream() {
  const base::Fd client(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  net::DnsStream stream(net::kMaxDnsMessage);
  std::optional<wire::Bytes> query;
  while (!query) {
    const std::string text = receive_text(client.get());
    if (text.empty() || !stream.feed(wire::as_bytes(text))) return;
    query = stream.take();
  }
  for (const wire::Bytes& answer : answers_to(*query)) {
    const wire::Bytes framed = net::with_length(answer);
    ::send(client.get(), framed.data(), framed.size(), MSG_NOSIGNAL);
  }
}

std::vector<wire::Bytes> AnsweringServer::answers_to(wire::ByteView bytes) {
  const auto parsed = net::parse_query(bytes);
  const std::string name = net::text_of(parsed.query.name).value_or("");
  const std::lock_guard lock(mutex_);
  ++queries_;
  const auto found = answers_.find(name);
  if (found == answers_.end()) return {net::make_error(parsed.query, net::dns::kNoSuchName)};
  auto answers = found->second(parsed.query);
  for (wire::Bytes& answer : answers) {
    if (answer.size() >= 2) std::copy_n(bytes.begin(), 2, answer.begin());
  }
  return answers;
}

std::optional<net::DnsAnswer> ask_as_guest(NetworkUnderTest& network, const std::string& name,
                                           uint16_t type, bool over_tcp,
                                           std::chrono::milliseconds patience) {
  using net::space::SocketType;
  const base::Fd socket = network.guest_socket(over_tcp ? SocketType::tcp4 : SocketType::udp4);
  REQUIRE(network.connect_guest(socket.get(), net::resolver_endpoint(false, 53)) == 0);
  const net::DnsQuery query = query_for(name, type);
  const wire::Bytes message = net::make_query(query, 7, false);
  const wire::Bytes sent = over_tcp ? net::with_length(message) : message;
  REQUIRE(::send(socket.get(), sent.data(), sent.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(sent.size()));
  net::DnsStream stream(net::kMaxDnsMessage);
  while (becomes_readable(socket.get(), static_cast<int>(patience.count()))) {
    const std::string text = receive_text(socket.get());
    if (!over_tcp) return net::parse_answer(wire::as_bytes(text), query);
    if (text.empty() || !stream.feed(wire::as_bytes(text))) return std::nullopt;
    if (const auto whole = stream.take()) return net::parse_answer(*whole, query);
  }
  return std::nullopt;
}

void learn_as_guest(NetworkUnderTest& network, const std::string& name) {
  size_t addresses = 0;
  for (const uint16_t type : {net::dns::kTypeA, net::dns::kTypeAaaa}) {
    const auto answer = ask_as_guest(network, name, type);
    REQUIRE_MESSAGE(answer, name);
    addresses += answer->addresses.size();
  }
  REQUIRE(addresses > 0);
}

}  // namespace microvm::test
