#include "net/nameserver.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "net/dns/dns_stream.hpp"
#include "net/flow/address.hpp"
#include "net/flow/packet.hpp"
#include "net/sockets.hpp"

namespace microvm::test {

using namespace microvm::net;

NameserverOfTest::NameserverOfTest(const std::string& address)
    : udp_(bind_udp(endpoint(address, 53))), tcp_(listen_tcp(endpoint(address, 53))) {
  thread_ = std::thread([this] { serve(); });
}

NameserverOfTest::~NameserverOfTest() {
  end_.raise();
  thread_.join();
}

void NameserverOfTest::set(const std::string& name, const std::vector<std::string>& addresses) {
  const std::lock_guard lock(mutex_);
  names_[name] = addresses;
}

void NameserverOfTest::serve() {
  std::array<pollfd, 3> all{
      {{end_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}}};
  while (::poll(all.data(), all.size(), -1) > 0 && all[0].revents == 0) {
    if (all[1].revents != 0) serve_datagram();
    if (all[2].revents != 0) serve_connection();
  }
}

void NameserverOfTest::serve_datagram() {
  wire::Bytes query(4096);
  SocketAddress from;
  const ssize_t got = ::recvfrom(udp_.get(), query.data(), query.size(), 0, from.raw(), &from.size);
  if (got <= 0) return;
  query.resize(static_cast<size_t>(got));
  const wire::Bytes reply = answer(query);
  ::sendto(udp_.get(), reply.data(), reply.size(), 0, from.raw(), from.size);
}

void NameserverOfTest::serve_connection() {
  const base::Fd connection(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  wire::Bytes bytes(4096);
  const ssize_t got = ::recv(connection.get(), bytes.data(), bytes.size(), 0);
  if (got <= 0) return;
  bytes.resize(static_cast<size_t>(got));
  DnsStream stream(4096);
  if (!stream.feed(bytes)) return;
  const auto query = stream.take();
  if (!query) return;
  const wire::Bytes reply = with_length(answer(*query));
  ::send(connection.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
}

wire::Bytes NameserverOfTest::answer(wire::ByteView message) {
  const auto parsed = parse_query(message);
  ++queries_;
  const auto name = text_of(parsed.query.name).value_or("");
  const std::lock_guard lock(mutex_);
  if (!names_.contains(name)) return make_error(parsed.query, dns::kNoSuchName);
  std::vector<wire::Ipv6Address> addresses;
  for (const std::string& address : names_[name]) {
    const auto made = endpoint(address, 0);
    const bool wanted = net::is_ipv4(made) == (parsed.query.type == dns::kTypeA);
    if (wanted) addresses.push_back(made.address);
  }
  const auto made = make_answer(parsed.query, addresses, std::chrono::seconds(300));
  return make_reply(parsed.query, made, std::chrono::seconds(0), kMaxUdpReplyBytes);
}

std::vector<wire::NetEndpoint> look_up(int socket, const std::string& name, bool over_tcp,
                                       uint16_t* error) {
  DnsQuery query;
  query.name = wire_name_of(name);
  query.type = dns::kTypeA;
  const wire::Bytes message = make_query(query, 4711, true);
  const wire::Bytes sent = over_tcp ? with_length(message) : message;
  REQUIRE(::send(socket, sent.data(), sent.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(sent.size()));
  wire::Bytes reply(4096);
  REQUIRE(becomes_readable(socket, 7000));
  const ssize_t got = ::recv(socket, reply.data(), reply.size(), 0);
  REQUIRE(got > 0);
  reply.resize(static_cast<size_t>(got));
  if (over_tcp) reply.erase(reply.begin(), reply.begin() + 2);
  CHECK(dns_id(reply) == 4711);
  const auto answer = parse_answer(reply, query);
  REQUIRE(answer);
  if (error != nullptr) *error = answer->error;
  std::vector<wire::NetEndpoint> found;
  for (const auto& address : answer->addresses) found.push_back({address, 0});
  return found;
}

}  // namespace microvm::test
