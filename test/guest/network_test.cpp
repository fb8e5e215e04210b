// The network of a guest, from the program inside to a listener of this host.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "fixture.hpp"
#include "steps_in_clone.hpp"
#include "suite/skip.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

// One of this host's that is no loopback address; a rig has one of the tests' own.
std::string host_address() {
  if (std::getenv("MICROVM_RIG") != nullptr) {
    if (std::system("ip addr replace 192.0.2.77/32 dev lo") == 0) return "192.0.2.77";
    return {};
  }
  std::string found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* item = list; item != nullptr && found.empty(); item = item->ifa_next) {
    if (item->ifa_addr == nullptr || item->ifa_addr->sa_family != AF_INET ||
        (item->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    char text[INET_ADDRSTRLEN] = "";
    const auto* address = reinterpret_cast<const sockaddr_in*>(item->ifa_addr);
    found = ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
  }
  ::freeifaddrs(list);
  return found;
}

// Says one line to whoever connects, and then keeps the connection until its end.
class Greeter {
 public:
  explicit Greeter(const std::string& address) : address_(address) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    ::inet_pton(AF_INET, address.c_str(), &at.sin_addr);
    REQUIRE(::bind(socket_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(socket_, 16) == 0);
    socklen_t size = sizeof at;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Greeter() {
    ends_ = true;
    thread_.join();
    for (const int fd : clients_) ::close(fd);
    ::close(socket_);
  }
  Greeter(const Greeter&) = delete;
  Greeter& operator=(const Greeter&) = delete;

  [[nodiscard]] std::string place() const { return address_ + ":" + std::to_string(port_); }
  // Python in the guest: prints what was said, or the name of the error.
  [[nodiscard]] std::string client() const {
    return "python3 -c \"import socket,errno\ntry:\n s=socket.create_connection(('" + address_ +
           "'," + std::to_string(port_) +
           "),20)\n print(s.recv(64).decode(),end='')\nexcept OSError as e:\n "
           "print(errno.errorcode.get(e.errno,e))\"";
  }

 private:
  void serve() {
    pollfd wait{.fd = socket_, .events = POLLIN, .revents = 0};
    while (!ends_) {
      if (::poll(&wait, 1, 50) != 1) continue;
      const int client = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      [[maybe_unused]] const auto sent = ::send(client, "from outside\n", 13, MSG_NOSIGNAL);
      clients_.push_back(client);
    }
  }

  std::string address_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> ends_{false};
  std::vector<int> clients_;
  std::thread thread_;
};

RunOptions with_rule(const std::string& rule) {
  RunOptions options;
  options.network.policy.rules = {rule};
  return options;
}

}  // namespace

TEST_CASE("network: eth0 is up with its addresses, and resolv.conf names the resolver") {
  RunningVm vm = run_counter();
  CHECK(shell(vm, "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu") ==
        "02:6d:76:6d:00:15\n1500\n");
  CHECK(has(shell(vm, "cat /proc/net/fib_trie"), "10.0.2.15"));
  CHECK(has(shell(vm, "cat /proc/net/route"), "eth0\t00000000\t0202000A"));
  const std::string ipv6 = shell(vm, "cat /proc/net/if_inet6");
  CHECK(has(ipv6, "fd6d766d000000000000000000000015"));
  CHECK_FALSE(has(ipv6, "fe80"));
  CHECK(has(shell(vm, "cat /proc/net/arp"), "02:6d:76:6d:00:02"));
  CHECK(has(shell(vm, "cat /etc/resolv.conf"), "nameserver 10.0.2.3\n"));
  CHECK(has(shell(vm, "cat /proc/mounts"), " /etc/resolv.conf tmpfs "));
  CHECK_FALSE(has(shell(vm, "dmesg"), "network:"));
}

TEST_CASE("network: what a rule allows is reached, before and after a suspend, and in a fork") {
  const std::string address = host_address();
  if (address.empty()) SKIP_CASE("needs an address of this host that is no loopback address");
  const Greeter greeter(address);
  RunningVm closed = run_counter();
  CHECK(shell(closed, greeter.client()) == "ECONNREFUSED\n");

  RunningVm vm = run_counter(with_rule("allow tcp " + greeter.place()));
  CHECK(shell(vm, greeter.client()) == "from outside\n");
  suspend(vm);
  CHECK(shell(vm, greeter.client()) == "from outside\n");
  auto forks = vm.fork({});
  REQUIRE_MESSAGE(forks, why(forks));
  RunningVm fork(std::move(forks->front()));
  CHECK(shell(fork, greeter.client()) == "from outside\n");
  CHECK(shell(vm, greeter.client()) == "from outside\n");
}

TEST_CASE("network: a connection that a guest held over a suspend is reset at its next packet") {
  const std::string address = host_address();
  if (address.empty()) SKIP_CASE("needs an address of this host that is no loopback address");
  const Greeter greeter(address);
  RunningVm vm = run_counter(with_rule("allow tcp " + greeter.place()));
  const size_t colon = greeter.place().find(':');
  shell(vm, "cat > /tmp/hold.py <<'EOF'\nimport socket,time,errno\ns=socket.create_connection(('" +
                greeter.place().substr(0, colon) + "'," + greeter.place().substr(colon + 1) +
                "),20)\ns.recv(64)\nopen('/tmp/held','w').close()\n"
                "while True:\n time.sleep(0.2)\n try:\n  s.send(b'x')\n except OSError as e:\n  "
                "open('/tmp/end','w').write(errno.errorcode[e.errno])\n  break\nEOF\n"
                "setsid python3 /tmp/hold.py >/dev/null 2>&1 & "
                "while [ ! -e /tmp/held ]; do sleep 0.1; done");
  suspend(vm);
  CHECK(has(shell(vm,
                  "for i in $(seq 100); do [ -s /tmp/end ] && break; sleep 0.1; done; "
                  "cat /tmp/end"),
            "ECONNRESET"));
}

TEST_CASE("network: with none eth0 is down, and what is asked for is unreachable at once") {
  RunOptions options;
  options.network.mode = NetworkMode::none;
  RunningVm vm = run_counter(options);
  CHECK(shell(vm, "cat /sys/class/net/eth0/operstate") == "down\n");
  CHECK(shell(vm,
              "python3 -c \"import socket,errno\ntry:\n "
              "socket.create_connection(('192.0.2.1',80),20)\nexcept OSError as e:\n "
              "print(errno.errorcode[e.errno])\"") == "ENETUNREACH\n");
  const auto info = vm.network();
  REQUIRE_MESSAGE(info, why(info));
  CHECK_FALSE(info->is_running);
  ForkOptions forks;
  forks.network.emplace().mode = NetworkMode::user;
  auto forked = vm.fork(forks);
  REQUIRE_MESSAGE(forked, why(forked));
  RunningVm fork(std::move(forked->front()));
  CHECK(has(shell(fork, "cat /proc/net/route"), "eth0\t00000000\t0202000A"));
}

TEST_CASE("network: an idle clone sends nothing, so that nobody is started for it") {
  RunningVm vm = run_counter();
  shell(vm, "sleep 3");
  const auto info = vm.network();
  REQUIRE_MESSAGE(info, why(info));
  CHECK(info->mode == NetworkMode::user);
  CHECK_FALSE(info->is_running);
}

TEST_CASE(
    "network: a RUN has one, reaches what the build's rule allows, and none when it says so") {
  const std::string address = host_address();
  if (address.empty()) SKIP_CASE("needs an address of this host that is no loopback address");
  const Greeter greeter(address);
  const TempDir context;
  context.write("reach.sh", greeter.client());
  context.write("Dockerfile",
                "FROM debian:bookworm\nCOPY reach.sh /tmp/reach.sh\n"
                "RUN sh /tmp/reach.sh\n"
                "RUN --network=none sh /tmp/reach.sh; cut -d: -f1 /proc/net/dev | grep -c eth0\n");
  std::string printed;
  BuildOptions options;
  options.context = context.path();
  options.tag = "reach";
  options.network.policy.rules = {"allow tcp " + greeter.place()};
  options.progress = [&](const Progress& progress) { printed += progress.output; };
  const auto built = StepsInClone().build(options, {});
  REQUIRE_FALSE(built);  // grep counts 0, and fails
  INFO(built.error().message);
  CHECK(built.error().code == ErrorCode::build_failed);
  CHECK(printed == "from outside\nENETUNREACH\n0\n");
}
