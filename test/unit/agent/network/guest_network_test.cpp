#include "agent/network/guest_network.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "suite/skip.hpp"
#include "unit/agent/network/in_namespace.hpp"
#include "unit/agent/temporary_root.hpp"

// With a tap in a namespace of the test's own in place of the guest's device.
namespace microvm::agent {
namespace {

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string of_eth0(const std::string& name) {
  return read_all("/proc/self/net/" + name);
}

bool is_up() {
  const int flags = std::stoi(read_all("/sys/class/net/eth0/flags"), nullptr, 16);
  return (flags & IFF_UP) != 0;
}

// The address that the kernel would send from to get there; empty: it says why not.
std::string source_towards(const char* remote) {
  const base::Fd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(9);
  inet_pton(AF_INET, remote, &address.sin_addr);
  if (connect(any.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return std::string("error ") + std::to_string(errno);
  socklen_t size = sizeof address;
  getsockname(any.get(), reinterpret_cast<sockaddr*>(&address), &size);
  char text[INET_ADDRSTRLEN] = "";
  return inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
}

const std::string kUnreachable = "error " + std::to_string(ENETUNREACH);
const char* const kIpv6Line = "fd6d766d000000000000000000000015";

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// In a child: says which line it was.
#define MUST(condition)                                                        \
  do {                                                                         \
    if (!(condition)) {                                                        \
      std::fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
      return false;                                                            \
    }                                                                          \
  } while (false)

struct OfTap {
  microvm_agent_Identity identity = microvm_agent_Identity_init_zero;

  explicit OfTap(uint8_t last) {
    identity.network = microvm_agent_Identity_Network_TAP;
    identity.mac = {6, {2, 0, 0, 0, 0, last}};
    identity.addresses_count = 1;
    identity.addresses[0] = {{4, {192, 0, 2, last}}, 24};
    identity.gateways_count = 1;
    identity.gateways[0] = {4, {192, 0, 2, 1}};
    identity.dns_count = 1;
    identity.dns[0] = {4, {192, 0, 2, 53}};
  }
};

microvm_agent_Identity of_kind(microvm_agent_Identity_Network kind) {
  microvm_agent_Identity identity = microvm_agent_Identity_init_zero;
  identity.network = kind;
  return identity;
}

bool has_user_network() {
  MUST(is_up());
  MUST(source_towards("192.0.2.1") == "10.0.2.15");
  MUST(has(of_eth0("arp"), "02:6d:76:6d:00:02"));
  MUST(has(of_eth0("if_inet6"), kIpv6Line));
  MUST(!has(of_eth0("if_inet6"), "fe80"));
  MUST(has(of_eth0("ipv6_route"), "fd6d766d000000000000000000000002"));
  MUST(read_all("/sys/class/net/eth0/mtu") == "1500\n");
  return true;
}

bool comes_up_and_changes(const TemporaryRoot& root) {
  const base::Fd tap = make_tap("other7");
  if (!tap) _exit(2);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);  // of this network
  GuestNetwork network;
  network.come_up(open_here(root / "").get(), (root / "staging").c_str());
  MUST(has_user_network());
  MUST(has(root.read("etc/resolv.conf"), "nameserver 10.0.2.3\n"));

  network.apply(of_kind(microvm_agent_Identity_Network_NONE));
  MUST(!is_up());
  MUST(source_towards("192.0.2.1") == kUnreachable);
  MUST(source_towards("10.0.2.3") == kUnreachable);
  network.apply(of_kind(microvm_agent_Identity_Network_AS_IT_IS));
  MUST(!is_up());
  network.apply(of_kind(microvm_agent_Identity_Network_USER));
  MUST(has_user_network());

  network.apply(OfTap(7).identity);
  MUST(source_towards("198.51.100.1") == "192.0.2.7");
  MUST(read_all("/sys/class/net/eth0/address") == "02:00:00:00:00:07\n");
  MUST(!has(of_eth0("arp"), "02:6d:76:6d:00:02"));
  MUST(!has(of_eth0("if_inet6"), kIpv6Line));
  MUST(has(root.read("etc/resolv.conf"), "nameserver 192.0.2.53\n"));
  network.apply(OfTap(8).identity);
  MUST(source_towards("198.51.100.1") == "192.0.2.8");
  MUST(read_all("/sys/class/net/eth0/address") == "02:00:00:00:00:08\n");
  MUST(!has(of_eth0("fib_trie"), "192.0.2.7"));
  MUST(!has(of_eth0("fib_trie"), "10.0.2.15"));
  return true;
}

}  // namespace

TEST_SUITE("agent network") {
  TEST_CASE("an interface is named, comes up, and becomes what each identity says") {
    const TemporaryRoot root;
    root.write("etc/resolv.conf", "");
    std::filesystem::create_directories(root / "staging");
    const Ended ended = in_namespace([&] { return comes_up_and_changes(root); });
    if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces and /dev/net/tun");
    CHECK(ended == Ended::good);
  }

  TEST_CASE("an identity that changes nothing costs no system call on the interface") {
    const TemporaryRoot root;
    root.write("etc/resolv.conf", "");
    std::filesystem::create_directories(root / "staging");
    const Ended ended = in_namespace([&] {
      base::Fd tap = make_tap("eth0");
      if (!tap) _exit(2);
      GuestNetwork network;
      network.come_up(open_here(root / "").get(), (root / "staging").c_str());
      tap.reset();  // any attempt at it would fail, and be told
      const base::Fd words(memfd_create("words", MFD_CLOEXEC));
      dup2(words.get(), 2);
      network.apply(of_kind(microvm_agent_Identity_Network_USER));
      network.apply(of_kind(microvm_agent_Identity_Network_AS_IT_IS));
      const bool silent = lseek(words.get(), 0, SEEK_END) == 0;
      network.apply(of_kind(microvm_agent_Identity_Network_NONE));
      return silent && lseek(words.get(), 0, SEEK_END) > 0;
    });
    if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces and /dev/net/tun");
    CHECK(ended == Ended::good);
  }

  TEST_CASE("a guest without a device has nothing to do") {
    const TemporaryRoot root;
    root.write("etc/resolv.conf", "the image's\n");
    std::filesystem::create_directories(root / "staging");
    const Ended ended = in_namespace([&] {
      GuestNetwork network;
      network.come_up(open_here(root / "").get(), (root / "staging").c_str());
      network.apply(of_kind(microvm_agent_Identity_Network_USER));
      network.apply(OfTap(7).identity);
      return root.read("etc/resolv.conf") == "the image's\n";
    });
    if (ended == Ended::not_to_be_had) SKIP_CASE("needs user namespaces");
    CHECK(ended == Ended::good);
  }

  TEST_CASE("an address that is none is refused") {
    OfTap tap(7);
    REQUIRE(tap_settings(tap.identity));
    tap.identity.addresses[0].prefix_bits = 200;
    CHECK(tap_settings(tap.identity)->addresses[0].prefix_bits == 32);
    tap.identity.addresses[0].address.size = 5;
    CHECK_FALSE(tap_settings(tap.identity));
    OfTap other(7);
    other.identity.gateways[0].size = 0;
    CHECK_FALSE(tap_settings(other.identity));
  }
}

}  // namespace microvm::agent
