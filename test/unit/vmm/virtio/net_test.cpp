#include "vmm/virtio/net.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "sys/socket.hpp"
#include "vmm/virtio/net_driver.hpp"

using namespace microvm;
using namespace microvm::test;
using wire::NetworkKind;

namespace {

// The other end of a socket that keeps frames apart is the tap's.
template <class On>
struct NetGuest : NetDriver<On> {
  explicit NetGuest(NetworkKind kind, uint64_t features = kBasic | kOffloads)
      : NetDriver<On>(features) {
    auto made = std::make_unique<NetDevice>(
        *this->loop, kind,
        NetDevice::Callbacks{.want_tap =
                                 [this] {
                                   ++wanted;
                                   return will_come;
                                 },
                             .first_packet =
                                 [this](wire::ByteView frame) {
                                   if (no_room) return false;
                                   first.emplace_back(frame.begin(), frame.end());
                                   return true;
                                 },
                             .tap_lost = [this](Error error) { lost.push_back(error.message); }});
    this->put(std::move(made));
  }
  void plug() {
    auto pair = sys::seqpacket_pair();
    REQUIRE(pair);
    REQUIRE(sys::set_nonblocking(pair->first.get()));
    REQUIRE(sys::set_nonblocking(pair->second.get()));
    tap = std::move(pair->second);
    this->net->connect(std::move(pair->first));
  }
  FrameBytes at_tap() {
    FrameBytes bytes(70'000);
    const ssize_t got = ::recv(tap.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  void from_tap(const FrameBytes& frame, NetHeader header = {}) {
    FrameBytes all(sizeof header);
    std::memcpy(all.data(), &header, sizeof header);
    all.insert(all.end(), frame.begin(), frame.end());
    REQUIRE(::send(tap.get(), all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
  }

  int wanted = 0;
  bool will_come = true;
  bool no_room = false;
  std::vector<FrameBytes> first;
  std::vector<std::string> lost;
  base::Fd tap;
};

template <class On>
struct Plugged : NetGuest<On> {
  explicit Plugged(NetworkKind kind = NetworkKind::user, uint64_t features = kBasic | kOffloads)
      : NetGuest<On>(kind, features) {
    this->start();
    this->plug();
    this->kick_rx();
  }
};

}  // namespace

TEST_CASE_TEMPLATE("net: the guest finds MAC, MTU and a link", On, OnMmio, OnPci) {
  for (const auto kind : {NetworkKind::none, NetworkKind::user, NetworkKind::tap}) {
    NetGuest<On> guest(kind);
    CHECK(guest.template config<wire::MacAddress>(0) == wire::kGuestMac);
    CHECK(guest.template config<uint16_t>(6) == (kind == NetworkKind::none ? 0 : 1));
    CHECK(guest.template config<uint16_t>(10) == wire::kNetMtu);
  }
}

TEST_CASE_TEMPLATE("net: without a network frames are dropped and counted", On, OnMmio, OnPci) {
  NetGuest<On> guest(NetworkKind::none);
  guest.start();
  guest.send(syn_frame());
  guest.send(solicitation_frame());
  guest.kick_tx();
  CHECK(guest.sent() == 2);
  CHECK(guest.counters().no_network == 2);
  CHECK(guest.wanted == 0);
}

TEST_CASE_TEMPLATE("net: the first frame asks for a tap, and waits for it", On, OnMmio, OnPci) {
  NetGuest<On> guest(NetworkKind::user);
  guest.start();
  guest.send(solicitation_frame());  // nothing that anybody needs to hear
  guest.kick_tx();
  CHECK(guest.sent() == 1);
  CHECK(guest.wanted == 0);
  guest.send(ack_frame());
  guest.send(udp_frame());
  guest.kick_tx();
  guest.send(syn_frame());
  guest.kick_tx();
  CHECK(guest.wanted == 1);
  CHECK(guest.sent() == 0);
  CHECK(guest.on.transport->idle());  // a snapshot may be taken
  guest.plug();
  CHECK(guest.sent() == 3);
  CHECK(guest.at_tap().size() == 12 + ack_frame().size());
  CHECK(guest.at_tap().empty());
  REQUIRE(guest.first.size() == 2);
  CHECK(guest.first[1].size() == 12 + syn_frame().size());
  CHECK(guest.on.interrupts() == vmm::status::kUsedBuffer);
  CHECK(guest.counters().frames_from_guest == 3);
}

TEST_CASE_TEMPLATE("net: what waits for a tap that does not come is dropped", On, OnMmio, OnPci) {
  NetGuest<On> guest(NetworkKind::user);
  guest.start();
  guest.send(syn_frame());
  guest.send(syn_frame());
  guest.kick_tx();
  guest.net->disconnect();
  CHECK(guest.sent() == 2);
  CHECK(guest.counters().no_network == 2);
  guest.will_come = false;  // not again so soon
  guest.send(syn_frame());
  guest.kick_tx();
  CHECK(guest.wanted == 2);
  CHECK(guest.sent() == 1);
  guest.will_come = true;
  guest.send(syn_frame());
  guest.kick_tx();
  CHECK(guest.wanted == 3);
  CHECK(guest.sent() == 0);
}

TEST_CASE_TEMPLATE("net: hostile frames reach neither tap nor microvm-net", On, OnMmio, OnPci) {
  Plugged<On> guest;
  guest.send(FrameBuilder(kIpv4Type, {2, 2, 2, 2, 2, 2}).ipv4(6, 20).tcp(kAckFlag));
  guest.send(FrameBuilder(0x8100).fill(60));
  guest.send(FrameBytes(3));
  guest.send(ack_frame(2000));
  NetHeader far{.flags = 1, .csum_start = 34, .csum_offset = 2000};
  guest.send(ack_frame(), far);
  guest.tx.describe_chain(250, {{kFrames, 11}});
  guest.tx.offer(250);
  guest.tx.describe_chain(251, {{kFrames, 64, kWrite}});
  guest.tx.offer(251);
  guest.kick_tx();
  CHECK(guest.sent() == 7);
  CHECK(guest.counters().spoofed == 1);
  CHECK(guest.counters().malformed == 6);
  CHECK(guest.at_tap().empty());
  CHECK(guest.first.empty());
}

TEST_CASE_TEMPLATE("net: pairs that are admitted go to the tap", On, OnMmio, OnPci) {
  Plugged<On> guest;
  const auto facts = vmm::classify(frame_of(udp_frame()));
  guest.send(udp_frame());
  guest.kick_tx();
  CHECK(guest.first.size() == 1);
  guest.net->apply({true, facts.guest, facts.remote});
  guest.send(udp_frame());
  guest.send(udp_frame(10, 4000));
  guest.kick_tx();
  CHECK(guest.first.size() == 2);
  CHECK(guest.at_tap().size() == 12 + udp_frame().size());
  guest.net->apply({false, facts.guest, facts.remote});
  guest.send(udp_frame());
  guest.no_room = true;
  guest.kick_tx();
  CHECK(guest.at_tap().empty());
  CHECK(guest.counters().overrun == 1);
}

TEST_CASE_TEMPLATE("net: frames arrive as they were, however they are cut", On, OnMmio, OnPci) {
  Plugged<On> guest;
  const FrameBytes frame = ack_frame(1400);
  for (const uint32_t cut : std::initializer_list<uint32_t>{0, 1, 11, 12, 13, 200, 268, 300}) {
    guest.send(frame, {}, cut);
    guest.kick_tx();
    const FrameBytes seen = guest.at_tap();
    REQUIRE(seen.size() == 12 + frame.size());
    CHECK(std::equal(frame.begin(), frame.end(), seen.begin() + 12));
  }
  CHECK(guest.counters().bytes_from_guest == 8 * frame.size());
}

TEST_CASE_TEMPLATE("net: frames for the guest fill its buffers, with one interrupt", On, OnMmio,
                   OnPci) {
  Plugged<On> guest;
  guest.give(1536, 64);
  guest.from_tap(numbered(100));
  guest.from_tap(numbered(1524));
  guest.from_tap(numbered(1525));
  guest.from_tap(numbered(9000));
  guest.from_tap(numbered(60));
  guest.turn();
  NetHeader header;
  for (const auto& [bytes, buffers] : std::initializer_list<std::pair<size_t, int>>{
           {100, 1}, {1524, 1}, {1525, 2}, {9000, 6}, {60, 1}}) {
    CHECK(guest.received(&header) == numbered(bytes));
    CHECK(header.num_buffers == buffers);
  }
  CHECK(guest.on.interrupts() == vmm::status::kUsedBuffer);
  CHECK(guest.on.transport->idle());
  CHECK(guest.counters().frames_to_guest == 5);
  CHECK(guest.counters().bytes_to_guest == 100 + 1524 + 1525 + 9000 + 60);
}

TEST_CASE_TEMPLATE("net: a frame waits for the buffers that it needs", On, OnMmio, OnPci) {
  Plugged<On> guest;
  guest.from_tap(numbered(9000));
  guest.from_tap(numbered(70));
  guest.turn();
  CHECK(guest.received().empty());
  guest.give(1536, 3);
  guest.kick_rx();
  guest.turn();
  CHECK(guest.received().empty());
  CHECK(guest.on.transport->idle());
  CHECK(guest.rx.kick_event() == guest.rx.next_available);  // told of the next one
  guest.give(1536, 2);
  guest.kick_rx();
  CHECK(guest.received().empty());
  guest.give(1536, 2);
  guest.kick_rx();
  guest.turn();
  CHECK(guest.received() == numbered(9000));
  CHECK(guest.received() == numbered(70));
}

TEST_CASE_TEMPLATE("net: the guest gets nothing that its driver has not agreed to", On, OnMmio,
                   OnPci) {
  Plugged<On> guest(NetworkKind::tap, kBasic);
  guest.give(2048, 4);
  guest.from_tap(numbered(100), {.flags = 1, .csum_start = 34, .csum_offset = 16});
  guest.from_tap(numbered(100), {.gso_type = 1, .gso_size = 1000});
  guest.from_tap(numbered(100), {.gso_type = 5, .gso_size = 1000});
  guest.from_tap(numbered(3000));  // one buffer each
  guest.from_tap(numbered(5));
  guest.from_tap(numbered(90), {.flags = 2});
  guest.turn();
  NetHeader header;
  CHECK(guest.received(&header) == numbered(90));
  CHECK(header.flags == 0);
  CHECK(header.num_buffers == 1);
  CHECK(guest.received().empty());
  CHECK(guest.counters().unwanted == 5);
}

TEST_CASE_TEMPLATE("net: a tap of the embedder's has all frames, and its end is told", On, OnMmio,
                   OnPci) {
  Plugged<On> guest(NetworkKind::tap);
  guest.send(FrameBuilder(0x8100, {2, 2, 2, 2, 2, 2}).fill(60));
  guest.send(syn_frame());
  guest.kick_tx();
  CHECK(guest.at_tap().size() == 12 + 74);
  CHECK(guest.at_tap().size() == 12 + syn_frame().size());
  CHECK(guest.template config<uint16_t>(6) == 1);
  guest.tap.reset();
  guest.turn();
  REQUIRE(guest.lost.size() == 1);
  CHECK(guest.lost[0].starts_with("the tap of the guest's network: "));
  CHECK(guest.template config<uint16_t>(6) == 0);
  guest.send(syn_frame());
  guest.kick_tx();
  CHECK((guest.on.interrupts() & vmm::status::kConfigChange) != 0);
  CHECK(guest.counters().no_network == 1);
}

TEST_CASE_TEMPLATE("net: another tap after one that went away", On, OnMmio, OnPci) {
  Plugged<On> guest;
  guest.tap.reset();
  guest.turn();
  CHECK(guest.lost.size() == 1);
  CHECK(guest.template config<uint16_t>(6) == 1);
  guest.send(ack_frame());
  guest.kick_tx();
  CHECK(guest.wanted == 1);
  guest.plug();
  CHECK(guest.at_tap().size() == 12 + ack_frame().size());
  guest.give(2048, 2);
  guest.from_tap(numbered(80));
  guest.turn();
  CHECK(guest.received() == numbered(80));
}

TEST_CASE_TEMPLATE("net: a driver that starts again finds the tap", On, OnMmio, OnPci) {
  Plugged<On> guest;
  guest.from_tap(numbered(80));
  write_register(*guest.on.transport, vmm::mmio::kStatus, 0);
  guest.turn();
  for (MockRing* ring : {&guest.rx, &guest.tx, &guest.control}) ring->wind_to(0);
  guest.start();
  guest.give(2048, 2);
  guest.kick_rx();
  guest.turn();
  CHECK(guest.received() == numbered(80));
}

TEST_CASE_TEMPLATE("net: paused, nothing moves; then all of it does", On, OnMmio, OnPci) {
  Plugged<On> guest;
  guest.give(2048, 4);
  guest.on.transport->pause();
  guest.send(ack_frame());
  guest.kick_tx();
  guest.from_tap(numbered(80));
  guest.turn();
  CHECK(guest.on.transport->idle());
  CHECK(guest.at_tap().empty());
  CHECK(guest.received().empty());
  guest.on.transport->resume();
  guest.turn();
  CHECK(guest.at_tap().size() == 12 + ack_frame().size());
  CHECK(guest.received() == numbered(80));
}

TEST_CASE_TEMPLATE("net: restored without its network, a guest is told of the link", On, OnMmio,
                   OnPci) {
  Plugged<On> source;
  source.on.transport->pause();
  state::Writer out;
  REQUIRE(source.on.transport->save(out, 6));
  const auto bytes = out.finish();
  for (const auto kind : {NetworkKind::user, NetworkKind::none}) {
    NetGuest<On> clone(kind);
    const auto in = state::Reader::parse(bytes);
    REQUIRE(in);
    REQUIRE(clone.on.transport->restore(*in, 6));
    clone.on.acknowledge(clone.on.interrupts());
    clone.on.transport->resume();
    const bool told = (clone.on.interrupts() & vmm::status::kConfigChange) != 0;
    CHECK(told == (kind == NetworkKind::none));
  }
}

TEST_CASE("net: state of another shape is refused") {
  const auto good = vmm::NetState{wire::kGuestMac, 1500, true}.encode();
  const auto read = vmm::NetState::decode(good);
  REQUIRE(read);
  CHECK(read->mac == wire::kGuestMac);
  CHECK(read->mtu == 1500);
  CHECK(read->link_up);
  for (size_t size = 0; size < good.size(); ++size) {
    CHECK_FALSE(vmm::NetState::decode(wire::ByteView(good).first(size)));
  }
  auto bad = good;
  bad.back() = std::byte{2};
  CHECK_FALSE(vmm::NetState::decode(bad));
}

TEST_CASE_TEMPLATE("net: receive buffers without room for a frame are a fault of the driver", On,
                   OnMmio, OnPci) {
  Plugged<On> guest;
  guest.give(12);
  guest.from_tap(numbered(80));
  guest.turn();
  CHECK(guest.on.transport->needs_reset());
  REQUIRE(guest.log.size() == 1);
}

TEST_CASE_TEMPLATE("net: the control queue answers what can be asked", On, OnMmio, OnPci) {
  Plugged<On> guest;
  const auto ask = [&](uint8_t group, uint8_t command, uint32_t bytes = 3) {
    const std::array<uint8_t, 3> asked{group, command, 1};
    (void)guest.memory.write(kControls, asked);
    (void)guest.memory.write(kControls + 16, uint8_t{0xee});
    guest.control.describe_chain(0, {{kControls, bytes}, {kControls + 16, 1, kWrite}});
    guest.control.offer(0);
    guest.on.transport->kick(NetDevice::kControlQueue);
    REQUIRE(guest.control.take_used());
    uint8_t answer = 0;
    (void)guest.memory.read(kControls + 16, answer);
    return answer;
  };
  CHECK(ask(0, 0) == 0);
  CHECK(ask(0, 5) == 0);
  CHECK(ask(0, 6) == 1);
  CHECK(ask(1, 0) == 0);
  CHECK(ask(1, 1) == 1);
  CHECK(ask(4, 0) == 1);
  CHECK(ask(0, 0, 1) == 1);
}
