// microvm-net as a process of its own, with a worker and a guest that the test plays: the guest is
// a network namespace with a tap, the worker a thread that carries frames between that tap and
// microvm-net's and hands over the first of each flow.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "net/space/space_thread.hpp"
#include "net/space/tap.hpp"
#include "net/test_host.hpp"
#include "sys/event_fd.hpp"
#include "sys/process.hpp"
#include "wire/net.hpp"

namespace microvm::test {

struct NetworkOptions {
  wire::NetworkSetup setup;
  std::vector<std::string> arguments{};  // of microvm-net
  std::string resolv_conf{};             // the host's
  bool may_fail = false;                 // to start: see failure()
};

// A rule as the library compiles them: of a prefix, "127.0.0.0/8"; ports: none is all.
wire::NetworkRule prefix_rule(wire::Verdict verdict, const std::string& prefix,
                              std::vector<wire::PortRange> ports = {});
wire::NetworkSetup allow_all();

// The guest's side in the namespace of this thread, as the agent does it inside.
Result<net::space::Tap> set_up_guest();

class NetworkUnderTest {
 public:
  // In the test host: see enter_test_host().
  explicit NetworkUnderTest(const NetworkOptions& options = {.setup = allow_all()});
  ~NetworkUnderTest();
  NetworkUnderTest(const NetworkUnderTest&) = delete;
  NetworkUnderTest& operator=(const NetworkUnderTest&) = delete;

  // A blocking socket in the guest, whose reads and writes give up after 5 seconds.
  base::Fd guest_socket(net::space::SocketType type);
  base::Fd guest_ping_socket(bool is_ipv6);
  // Connects one to there; the errno, or 0.
  int connect_guest(int socket, const wire::NetEndpoint& to);

  // Writes the file anew and tells microvm-net; what it says.
  wire::NetMessage change(const wire::NetworkSetup& setup);
  wire::NetMessage ask(const wire::NetMessage& request, int fd = -1);
  wire::NetStatus status();
  // A new connection to the management socket.
  base::Fd management();

  [[nodiscard]] const sys::Process& process() const { return process_; }
  // The host's file; microvm-net sees it when it asks its starter.
  void write_resolv_conf(const std::string& text);
  // Puts a frame of the guest's (with virtio-net header) where its kernel would.
  void send_as_guest(std::span<const uint8_t> frame);
  // Straight into microvm-net's tap: what a worker could do that has gone bad.
  void send_past_the_worker(std::span<const uint8_t> frame);
  // As the worker knows them, once they are so many or after a while.
  [[nodiscard]] size_t pairs_admitted(size_t expected);
  // From now on the worker hands nothing over.
  void pass_all_to_the_tap() { bad_worker_ = true; }
  [[nodiscard]] long resident_kib() const;
  // Why there is no network; empty: there is.
  [[nodiscard]] const wire::NetFailed& failure() const { return failure_; }
  // The worker's end.
  void let_worker_die();
  [[nodiscard]] const std::string& home() const { return home_; }

 private:
  void start_guest();
  void start_process(const NetworkOptions& options);
  void wait_until_up();
  void carry();
  void from_guest();
  void from_wire();
  void serve_as_starter();
  void pass_on(std::span<const uint8_t> frame);

  std::string home_;
  bool may_fail_ = false;
  wire::NetFailed failure_;
  base::Fd home_fd_;
  base::Fd wire_;
  base::Fd starter_;
  sys::Process process_;
  base::Fd net_tap_;
  net::space::SpaceThread guest_space_;
  base::Fd guest_ping4_;
  base::Fd guest_ping6_;
  net::space::Tap guest_tap_;
  std::mutex mutex_;
  std::vector<wire::UdpPair> admitted_;
  std::atomic<bool> bad_worker_ = false;
  sys::EventFd end_;
  std::thread carrier_;
};

}  // namespace microvm::test
