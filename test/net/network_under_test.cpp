#include "net/network_under_test.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "net/flow/address.hpp"
#include "net/flow/packet.hpp"
#include "net/space/netlink.hpp"
#include "net/space/sysctl.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"
#include "wire/net_addresses.hpp"

namespace microvm::test {
namespace {

using net::space::NetlinkBatch;

constexpr int kPatienceS = 5;

const char* program_path() {
  const char* other = std::getenv("MICROVM_NET");
  return other != nullptr ? other : MICROVM_NET_PATH;
}

template <class Address>
net::space::NetPrefix prefix_of(const Address& address, uint8_t bits) {
  return {{address.begin(), address.end()}, bits};
}

std::string make_home() {
  std::string name = (std::filesystem::temp_directory_path() / "microvm-net-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  return name;
}

}  // namespace

Result<net::space::Tap> set_up_guest() {
  static_cast<void>(net::space::set_sysctl("net/ipv6/conf/default/accept_dad", "0"));
  auto tap = net::space::make_tap("eth0");
  if (!tap) return tap;
  NetlinkBatch batch;
  batch.link_up(1);
  batch.link_up(tap->interface, wire::kNetMtu, wire::kGuestMac);
  batch.add_address(tap->interface, prefix_of(wire::kGuestIpv4, wire::kIpv4PrefixBits));
  batch.add_address(tap->interface, prefix_of(wire::kGuestIpv6, wire::kIpv6PrefixBits));
  batch.add_default_route(tap->interface, wire::kGatewayIpv4);
  batch.add_default_route(tap->interface, wire::kGatewayIpv6);
  if (auto ok = batch.run(); !ok) return base::fail(ok.error());
  return tap;
}

wire::NetworkRule prefix_rule(wire::Verdict verdict, const std::string& prefix,
                              std::vector<wire::PortRange> ports) {
  const auto slash = prefix.find('/');
  wire::NetworkRule rule;
  rule.verdict = verdict;
  rule.target = wire::NetworkRule::Target::prefix;
  const auto address = endpoint(prefix.substr(0, slash), 0);
  rule.address = address.address;
  const int whole = net::is_ipv4(address) ? 32 : 128;
  const int bits = slash == std::string::npos ? whole : std::stoi(prefix.substr(slash + 1));
  rule.prefix_bits = static_cast<uint8_t>(bits + 128 - whole);
  rule.ports = std::move(ports);
  rule.text = (verdict == wire::Verdict::allow ? "allow " : "deny ") + prefix;
  return rule;
}

wire::NetworkSetup allow_all() {
  wire::NetworkSetup setup;
  setup.otherwise = wire::Otherwise::allow;
  return setup;
}

NetworkUnderTest::NetworkUnderTest(const NetworkOptions& options)
    : home_(make_home()), may_fail_(options.may_fail) {
  start_process(options);
  start_guest();
  wait_until_up();
  if (!failure_.message.empty()) return;
  carrier_ = std::thread([this] { carry(); });
}

NetworkUnderTest::~NetworkUnderTest() {
  let_worker_die();
  static_cast<void>(process_.wait(sys::WaitLimits::within(std::chrono::seconds(kPatienceS))));
  static_cast<void>(process_.kill());
  std::filesystem::remove_all(home_);
}

void NetworkUnderTest::let_worker_die() {
  end_.raise();
  if (carrier_.joinable()) carrier_.join();
  wire_.reset();
  net_tap_.reset();
}

void NetworkUnderTest::start_process(const NetworkOptions& options) {
  home_fd_ = base::Fd(::open(home_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(sys::write_file_atomic(home_fd_.get(), wire::kNetworkFile,
                                 wire::encode_network_setup(options.setup)));
  auto wires = sys::seqpacket_pair();
  auto channel = sys::seqpacket_pair();
  REQUIRE((wires && channel));
  const base::Fd program(::open(program_path(), O_RDONLY | O_CLOEXEC));
  const base::Fd home(::open(home_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  sys::SpawnOptions spawn;
  spawn.arguments = {"microvm-net", "--resolv-conf=" + home_ + "/resolv.conf"};
  write_resolv_conf(options.resolv_conf);
  spawn.arguments.insert(spawn.arguments.end(), options.arguments.begin(), options.arguments.end());
  spawn.fds = {wires->second.get(), channel->second.get(), home.get()};
  spawn.standard_error = STDERR_FILENO;
  auto process = sys::spawn(program.get(), spawn);
  REQUIRE_MESSAGE(process, process.error().message);
  process_ = std::move(*process);
  wire_ = std::move(wires->first);
  starter_ = std::move(channel->first);
}

void NetworkUnderTest::start_guest() {
  auto made = guest_space_.start([this] {
    static_cast<void>(
        net::space::set_sysctl("net/ipv4/ping_group_range", own_group_range().c_str()));
    guest_ping4_ = base::Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP));
    guest_ping6_ = base::Fd(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMPV6));
    return set_up_guest().map([this](net::space::Tap tap) { guest_tap_ = std::move(tap); });
  });
  REQUIRE_MESSAGE(made, made.error().message);
}

void NetworkUnderTest::wait_until_up() {
  auto first = sys::receive_message(wire_.get());
  REQUIRE_MESSAGE(first, first.error().message);
  auto message = wire::decode_net(first->bytes);
  REQUIRE(message);
  if (const auto* failed = std::get_if<wire::NetFailed>(&*message)) {
    if (!may_fail_) FAIL(failed->message);
    failure_ = *failed;
    return;
  }
  REQUIRE(std::holds_alternative<wire::NetUp>(*message));
  REQUIRE(first->fds.size() == 1);
  net_tap_ = std::move(first->fds[0]);
}

void NetworkUnderTest::carry() {
  std::array<pollfd, 5> all{{{end_.get(), POLLIN, 0},
                             {guest_tap_.fd.get(), POLLIN, 0},
                             {net_tap_.get(), POLLIN, 0},
                             {wire_.get(), POLLIN, 0},
                             {starter_.get(), POLLIN, 0}}};
  std::vector<uint8_t> frame(wire::kMaxFrameBytes);
  while (::poll(all.data(), all.size(), -1) > 0 && all[0].revents == 0) {
    if (all[1].revents != 0) from_guest();
    for (int i = 0; i < 64 && all[2].revents != 0; ++i) {
      const ssize_t got = ::read(net_tap_.get(), frame.data(), frame.size());
      if (got <= 0) break;
      [[maybe_unused]] const auto put =
          ::write(guest_tap_.fd.get(), frame.data(), static_cast<size_t>(got));
    }
    if (all[3].revents != 0) from_wire();
    if ((all[3].revents & POLLHUP) != 0) all[3].fd = -1;
    if (all[4].revents != 0) serve_as_starter();
    if ((all[4].revents & POLLHUP) != 0) all[4].fd = -1;
  }
}

void NetworkUnderTest::from_guest() {
  std::vector<uint8_t> frame(wire::kMaxFrameBytes);
  for (int i = 0; i < 64; ++i) {
    const ssize_t got = ::read(guest_tap_.fd.get(), frame.data(), frame.size());
    if (got <= 0) return;
    send_as_guest(std::span(frame).first(static_cast<size_t>(got)));
  }
}

void NetworkUnderTest::send_as_guest(std::span<const uint8_t> frame) {
  const auto first = net::read_first_packet(frame);
  const std::lock_guard lock(mutex_);
  const bool admitted = first && std::ranges::any_of(admitted_, [&](const wire::UdpPair& pair) {
                          return first->protocol == wire::FlowProtocol::udp &&
                                 pair.guest == first->guest && pair.remote == first->remote;
                        });
  if (!first || admitted || bad_worker_) return send_past_the_worker(frame);
  const auto* bytes = reinterpret_cast<const std::byte*>(frame.data());
  static_cast<void>(sys::send_message(
      wire_.get(), wire::encode_net(wire::FirstPacket{{bytes, bytes + frame.size()}})));
}

void NetworkUnderTest::send_past_the_worker(std::span<const uint8_t> frame) {
  [[maybe_unused]] const auto put = ::write(net_tap_.get(), frame.data(), frame.size());
}

void NetworkUnderTest::from_wire() {
  auto received = sys::receive_message(wire_.get());
  if (!received) return;
  const auto message = wire::decode_net(received->bytes);
  if (!message) return;
  const auto* pair = std::get_if<wire::UdpPair>(&*message);
  if (pair == nullptr) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(admitted_, [&](const wire::UdpPair& other) {
    return other.guest == pair->guest && other.remote == pair->remote;
  });
  if (pair->admitted) admitted_.push_back(*pair);
}

void NetworkUnderTest::write_resolv_conf(const std::string& text) {
  REQUIRE(sys::write_file_atomic(home_fd_.get(), "resolv.conf", std::as_bytes(std::span(text))));
}

long NetworkUnderTest::resident_kib() const {
  std::ifstream file("/proc/" + std::to_string(process_.pid()) + "/status");
  for (std::string word; file >> word;) {
    long kib = 0;
    if (word == "VmRSS:" && file >> kib) return kib;
  }
  return 0;
}

void NetworkUnderTest::serve_as_starter() {
  const auto request = sys::receive_message(starter_.get());
  if (!request) return;
  const auto file = sys::open_at(home_fd_.get(), "resolv.conf", O_RDONLY);
  const int fd = file ? file->get() : -1;
  const std::byte opened{};
  static_cast<void>(
      sys::send_message(starter_.get(), std::span(&opened, 1), std::span(&fd, file ? 1 : 0)));
}

size_t NetworkUnderTest::pairs_admitted(size_t expected) {
  const auto count = [this] {
    const std::lock_guard lock(mutex_);
    return admitted_.size();
  };
  for (int i = 0; i < 200 && count() != expected; ++i) ::usleep(10'000);
  return count();
}

base::Fd NetworkUnderTest::guest_socket(net::space::SocketType type) {
  auto socket = guest_space_.take(type);
  REQUIRE_MESSAGE(socket, socket.error().message);
  REQUIRE(sys::set_nonblocking(socket->get(), false));
  const timeval patience{kPatienceS, 0};
  ::setsockopt(socket->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket->get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return std::move(*socket);
}

base::Fd NetworkUnderTest::guest_ping_socket(bool is_ipv6) {
  base::Fd socket(::dup((is_ipv6 ? guest_ping6_ : guest_ping4_).get()));
  REQUIRE(socket);
  return socket;
}

int NetworkUnderTest::connect_guest(int socket, const wire::NetEndpoint& to) {
  const auto address = net::socket_address(to);
  return ::connect(socket, address.raw(), address.size) == 0 ? 0 : errno;
}

base::Fd NetworkUnderTest::management() {
  auto connected = sys::connect_unix(home_fd_.get(), wire::kNetSocket, sys::SocketKind::seqpacket);
  REQUIRE_MESSAGE(connected, connected.error().message);
  return std::move(*connected);
}

wire::NetMessage NetworkUnderTest::ask(const wire::NetMessage& request, int fd) {
  const base::Fd connection = management();
  REQUIRE(sys::send_message(connection.get(), wire::encode_net(request),
                            fd < 0 ? std::span<const int>() : std::span(&fd, 1)));
  auto reply = sys::receive_message(connection.get());
  REQUIRE_MESSAGE(reply, reply.error().message);
  auto message = wire::decode_net(reply->bytes);
  REQUIRE(message);
  return std::move(*message);
}

wire::NetMessage NetworkUnderTest::change(const wire::NetworkSetup& setup) {
  REQUIRE(sys::write_file_atomic(home_fd_.get(), wire::kNetworkFile,
                                 wire::encode_network_setup(setup)));
  const auto file = sys::open_at(home_fd_.get(), wire::kNetworkFile, O_RDONLY);
  REQUIRE(file);
  return ask(wire::SetupChanged{}, file->get());
}

wire::NetStatus NetworkUnderTest::status() {
  const auto reply = ask(wire::NetStatusRequest{});
  REQUIRE(std::holds_alternative<wire::NetStatus>(reply));
  return std::get<wire::NetStatus>(reply);
}

}  // namespace microvm::test
