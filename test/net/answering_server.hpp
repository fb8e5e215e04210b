// A nameserver of the test host that answers rightly or not, as is said for each name.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "net/dns/dns_message.hpp"
#include "sys/event_fd.hpp"
#include "wire/net.hpp"

namespace microvm::test {

class NetworkUnderTest;

class AnsweringServer {
 public:
  static constexpr const char* kResolvConf = "nameserver 192.0.2.99\n";  // where it is

  // What is answered to a query, in order: none is silence. The id is the query's.
  using Answers = std::function<std::vector<wire::Bytes>(const net::DnsQuery& query)>;

  AnsweringServer();
  ~AnsweringServer();
  AnsweringServer(const AnsweringServer&) = delete;
  AnsweringServer& operator=(const AnsweringServer&) = delete;

  // The name has these addresses from now on.
  void set(const std::string& name, const std::vector<std::string>& addresses, uint32_t ttl = 300);
  void set(const std::string& name, Answers answers);
  [[nodiscard]] size_t queries();

 private:
  void serve();
  void answer_datagram();
  void answer_stream();
  std::vector<wire::Bytes> answers_to(wire::ByteView query);

  base::Fd udp_;
  base::Fd tcp_;
  sys::EventFd end_;
  std::mutex mutex_;
  std::map<std::string, Answers> answers_;
  size_t queries_ = 0;
  std::thread thread_;
};

// What the guest's resolver tells of a name: the answer to this query; none within `patience`.
std::optional<net::DnsAnswer> ask_as_guest(
    NetworkUnderTest& network, const std::string& name, uint16_t type, bool over_tcp = false,
    std::chrono::milliseconds patience = std::chrono::seconds(8));
// Looks up both kinds of addresses, and checks that there are some.
void learn_as_guest(NetworkUnderTest& network, const std::string& name);

}  // namespace microvm::test
