// microvm-net as a process: how it starts, what it takes, how it ends.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "net/network_under_test.hpp"
#include "net/sockets.hpp"
#include "net/space/sysctl.hpp"

using namespace microvm;
using namespace microvm::test;
using net::space::SocketType;

TEST_CASE("microvm-net ends with its worker") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  network.let_worker_die();
  const auto end = network.process().wait(sys::WaitLimits::within(std::chrono::milliseconds(5000)));
  REQUIRE(end);
  CHECK(end->code == 0);
}

TEST_CASE("a worker that went bad reaches nothing that no policy let in") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.rules.push_back(prefix_rule(wire::Verdict::deny, "9.9.9.9"));
  NetworkUnderTest network(options);
  network.pass_all_to_the_tap();
  for (const char* address : {"9.9.9.9", "127.0.0.1", "10.0.2.2"}) {
    CAPTURE(address);
    const auto there = endpoint(address, 4444);
    const base::Fd listener = listen_tcp(there);
    const base::Fd guest = network.guest_socket(SocketType::tcp4);
    if (std::string(address) == "127.0.0.1") continue;  // does not leave the guest
    CHECK(network.connect_guest(guest.get(), there) == ECONNREFUSED);
    CHECK_FALSE(becomes_readable(listener.get(), 50));
  }
}

TEST_CASE("no destination outside, and a flood of SYNs: refused, counted, and flows go on") {
  if (!enter_test_host()) return;
  NetworkOptions options{.setup = allow_all()};
  options.setup.limits.open_flows = 64;
  NetworkUnderTest network(options);
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  // SYNs of the guest that nobody in it waits for, to a port with a listener outside.
  std::vector<uint8_t> syn(12 + 14 + 40);
  const std::vector<uint8_t> headers{8, 0,  0x45, 0, 0, 40, 0,  0,   0x40, 0,  64,   6,
                                     0, 0,  10,   0, 2, 15, 93, 184, 216,  34, 0,    0,
                                     0, 80, 0,    0, 0, 0,  0,  0,   0,    0,  0x50, 2};
  std::copy(headers.begin(), headers.end(), syn.begin() + 24);
  for (int i = 0; i < 20'000; ++i) {
    syn[46] = static_cast<uint8_t>(i >> 8);
    syn[47] = static_cast<uint8_t>(i);
    network.send_as_guest(syn);
  }
  const auto status = network.status();
  CHECK(status.flows_open <= 64);
  CHECK(status.flows_refused_by_limit > 10'000);
  CHECK(network.resident_kib() < 4096);
}

TEST_CASE("microvm-net needs no io_uring") {
  if (!enter_test_host()) return;
  NetworkUnderTest network({.setup = allow_all(), .arguments = {"--plain-io"}});
  const auto there = endpoint("93.184.216.34", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  REQUIRE(network.connect_guest(guest.get(), there) == 0);
  const base::Fd server = accept_one(listener);
  send_text(guest.get(), "hello");
  CHECK(receive_text(server.get()) == "hello");
}

TEST_CASE("microvm-net is small, has no capabilities, and a filter on every thread") {
  if (!enter_test_host()) return;
  NetworkUnderTest network;
  CHECK(network.resident_kib() < 2048);
  size_t threads = 0;
  for (const auto& thread : std::filesystem::directory_iterator(
           "/proc/" + std::to_string(network.process().pid()) + "/task")) {
    std::ifstream file(thread.path() / "status");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    CHECK(text.find("CapEff:\t0000000000000000") != std::string::npos);
    CHECK(text.find("CapPrm:\t0000000000000000") != std::string::npos);
    CHECK(text.find("Seccomp:\t2") != std::string::npos);
    CHECK(text.find("NoNewPrivs:\t1") != std::string::npos);
    ++threads;
  }
  CHECK(threads == 2);
}

TEST_CASE("a host that makes no user namespaces: microvm-net says what to change, and ends") {
  if (!enter_test_host()) return;
  const std::string setting = "user/max_user_namespaces";
  const std::string before = net::space::read_sysctl(setting);
  REQUIRE(net::space::set_sysctl(setting, "0"));
  NetworkUnderTest network({.setup = allow_all(), .may_fail = true});
  REQUIRE(net::space::set_sysctl(setting, before.c_str()));
  CHECK(network.failure().code == static_cast<uint32_t>(ErrorCode::permission_denied));
  CHECK(network.failure().message.find("user.max_user_namespaces") != std::string::npos);
  const auto end = network.process().wait(sys::WaitLimits::within(std::chrono::milliseconds(5000)));
  REQUIRE(end);
  CHECK(end->code != 0);
}

TEST_CASE("an address that the host gets is the host's from then on, and flows to it are over") {
  if (!enter_test_host()) return;
  NetworkUnderTest network({.setup = {}});  // the internet only
  const auto there = endpoint("93.184.216.99", 80);
  const base::Fd listener = listen_tcp(there);
  const base::Fd guest = network.guest_socket(SocketType::tcp4);
  REQUIRE(network.connect_guest(guest.get(), there) == 0);
  add_host_address("93.184.216.99");
  errno = 0;
  CHECK(receive_text(guest.get()).empty());
  CHECK(errno == ECONNRESET);
  const base::Fd again = network.guest_socket(SocketType::tcp4);
  CHECK(network.connect_guest(again.get(), there) == ECONNREFUSED);
}
