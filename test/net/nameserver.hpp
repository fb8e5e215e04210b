// A nameserver of the test host, over UDP and TCP, with the names that a test gives it.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "net/dns/dns_message.hpp"
#include "net/test_host.hpp"
#include "sys/event_fd.hpp"

namespace microvm::test {

class NameserverOfTest {
 public:
  // Answers at this address, port 53.
  explicit NameserverOfTest(const std::string& address);
  ~NameserverOfTest();
  NameserverOfTest(const NameserverOfTest&) = delete;
  NameserverOfTest& operator=(const NameserverOfTest&) = delete;

  // Others there are not.
  void set(const std::string& name, const std::vector<std::string>& addresses);
  [[nodiscard]] int queries() const { return queries_; }

 private:
  void serve();
  void serve_datagram();
  void serve_connection();
  wire::Bytes answer(wire::ByteView query);

  base::Fd udp_;
  base::Fd tcp_;
  sys::EventFd end_;
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> names_;
  std::atomic<int> queries_ = 0;
  std::thread thread_;
};

// Asks as a guest's program does, on a socket that is connected to a resolver; addresses of the
// answer, or an empty list with the error in `error`.
std::vector<wire::NetEndpoint> look_up(int socket, const std::string& name, bool over_tcp = false,
                                       uint16_t* error = nullptr);

}  // namespace microvm::test
