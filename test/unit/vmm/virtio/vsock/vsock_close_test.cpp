// How connections end, and what hostile packets, resets and snapshots do to them.
#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/socket.h>

#include <thread>

#include "vmm/virtio/vsock/vsock_connected.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace std::chrono_literals;
using base::Fd;
using vmm::VsockLimits;
using vmm::VsockOp;

namespace {

using Open = ConnectedVsockGuest;
constexpr uint32_t kListened = Open::kHostPort;

// With nothing to do: a watch for what is there already would wake the loop again and again.
bool sleeps(sys::Loop& loop) {
  int rounds = 0;
  const auto end = std::chrono::steady_clock::now() + 50ms;
  for (; std::chrono::steady_clock::now() < end; ++rounds) loop.run_once(50ms);
  return rounds < 20;
}

}  // namespace

TEST_CASE("vsock: the guest closes its writing side") {
  Open t;
  t.send_op(VsockOp::rw, "last words");
  t.send_shutdown(vmm::kShutdownSend);
  CHECK(read_some(t.host) == "last words");
  CHECK(at_end(t.host));
  CHECK(::send(t.host.get(), "reply", 5, MSG_NOSIGNAL) == 5);
  CHECK(t.wait_packet()->data == "reply");
  t.send_op(VsockOp::rw, "more");  // after it said there is no more
  CHECK(t.wait_packet()->op == VsockOp::rst);
  CHECK(t.device().connections() == 0);
}

TEST_CASE("vsock: the host closes its writing side, then all") {
  Open t;
  ::send(t.host.get(), "question", 8, 0);
  ::shutdown(t.host.get(), SHUT_WR);
  CHECK(t.wait_packet()->data == "question");
  const auto packet = t.wait_packet();
  REQUIRE(packet);
  CHECK(packet->op == VsockOp::shutdown);
  CHECK(packet->flags == vmm::kShutdownSend);
  t.send_op(VsockOp::rw, "answer");
  CHECK(read_some(t.host) == "answer");
  t.host.reset();
  const auto last = t.wait_packet();
  REQUIRE(last);
  CHECK(last->op == VsockOp::shutdown);
  CHECK(last->flags == vmm::kShutdownBoth);
  t.send_op(VsockOp::rst);
  CHECK(t.device().connections() == 0);
}

TEST_CASE("vsock: both sides close their writing side") {
  Open t;
  ::shutdown(t.host.get(), SHUT_WR);
  CHECK(t.wait_packet()->flags == vmm::kShutdownSend);
  t.send_shutdown(vmm::kShutdownSend);
  CHECK(at_end(t.host));
  CHECK(t.wait_packet()->flags == vmm::kShutdownBoth);
  t.send_shutdown(vmm::kShutdownBoth);
  CHECK(t.wait_packet()->op == VsockOp::rst);
  CHECK(t.device().connections() == 0);
}

TEST_CASE("vsock: the guest closes; a slow host reader still gets everything") {
  Open t;
  const std::string block(4096, 'q');
  size_t sent = 0;
  for (; sent < 300'000; sent += block.size()) t.send_op(VsockOp::rw, block);
  t.send_shutdown(vmm::kShutdownBoth);
  while (t.wait_packet()->op != VsockOp::rst) {
  }
  // The ports are free again for the guest, while the old stream drains.
  Fd old = std::move(t.host);
  t.send_op(VsockOp::request);
  CHECK(t.wait_packet()->op == VsockOp::response);
  t.settle();
  CHECK(t.host);
  std::swap(old, t.host);
  size_t got = 0;
  CHECK(run_until(*t.loop, [&] {
    got += read_some(t.host).size();
    return at_end(t.host);
  }));
  CHECK(got == sent);
  CHECK(t.device().connections() == 1);
}

TEST_CASE("vsock: the guest stops receiving: the host's writer is told") {
  Open t;
  t.send_shutdown(vmm::kShutdownReceive);
  CHECK(::send(t.host.get(), "x", 1, MSG_NOSIGNAL) < 0);
  CHECK(errno == EPIPE);
  t.send_op(VsockOp::rw, "still talking");
  CHECK(read_some(t.host) == "still talking");
  t.host.reset();
  CHECK(t.wait_packet()->flags == vmm::kShutdownBoth);
}

TEST_CASE("vsock: the host goes away while the guest sends") {
  Open t;
  t.host.reset();
  t.send_op(VsockOp::rw, "anyone there?");
  std::optional<VsockPacket> packet;
  do {
    packet = t.wait_packet();
    REQUIRE(packet);
  } while (packet->flags != vmm::kShutdownBoth);
  for (int i = 0; i < 100; ++i) t.send_op(VsockOp::rw, std::string(4000, 'n'));
  t.settle();
  while ((packet = t.take_packet())) CHECK(packet->op == VsockOp::credit_update);
}

TEST_CASE("vsock: a host that goes away while the guest has no room") {
  for (const auto backend : {sys::Loop::Backend::automatic, sys::Loop::Backend::plain}) {
    Open t({}, 0, backend);
    CHECK(write_some(t.host, "question") == 8);
    CHECK(t.wait_packet()->op == VsockOp::credit_request);
    ::shutdown(t.host.get(), SHUT_WR);
    CHECK(sleeps(*t.loop));
    CHECK_FALSE(t.take_packet());
    t.host.reset();
    const auto packet = t.wait_packet();
    REQUIRE(packet);
    CHECK(packet->op == VsockOp::shutdown);
    CHECK(packet->flags == vmm::kShutdownReceive);
    CHECK(sleeps(*t.loop));
    CHECK_FALSE(t.take_packet());

    t.send_op(VsockOp::credit_update);
    CHECK(t.wait_packet()->data == "question");
    const auto last = t.wait_packet();
    REQUIRE(last);
    CHECK(last->op == VsockOp::shutdown);
    CHECK(last->flags == vmm::kShutdownBoth);
  }
}

TEST_CASE("vsock: a host's last word keeps its meaning until there is room for it") {
  Open t({}, 0);
  CHECK(write_some(t.host, "question") == 8);
  ::shutdown(t.host.get(), SHUT_WR);
  CHECK(t.wait_packet()->op == VsockOp::credit_request);
  t.send_op(VsockOp::credit_update);
  CHECK(t.wait_packet()->data == "question");
  CHECK(t.wait_packet()->flags == vmm::kShutdownSend);
  CHECK(sleeps(*t.loop));
  t.send_op(VsockOp::rw, "answer");
  CHECK(read_some(t.host) == "answer");
}

TEST_CASE("vsock: a guest that does not acknowledge the end is reset after a while") {
  Open t({.close = 10ms});
  t.host.reset();
  CHECK(t.wait_packet()->op == VsockOp::shutdown);
  CHECK(t.wait_packet()->op == VsockOp::rst);
  CHECK(t.device().connections() == 0);
}

TEST_CASE("vsock: hostile packets end their connection and nothing else") {
  Open t;
  t.device().listen(kListened + 1, [](Fd) {});
  const auto expect_rst = [&t](uint32_t host_port, uint16_t type = vmm::kVsockTypeStream) {
    const auto packet = t.wait_packet();
    REQUIRE(packet);
    CHECK(packet->op == VsockOp::rst);
    CHECK(packet->src_port == host_port);
    CHECK(packet->type == type);
  };
  auto bad = VsockGuest::header(VsockOp::rw, 1, 2);
  SUBCASE("data for no connection") {
    t.send(bad, "x");
    expect_rst(2);
  }
  SUBCASE("another type") {
    bad.type = 2;
    t.send(bad, "x");
    expect_rst(2, 2);
  }
  SUBCASE("another destination") {
    bad.dst_cid = 77;
    t.send(bad, "x");
    const auto packet = t.wait_packet();
    REQUIRE(packet);
    CHECK(packet->src_cid == 77);
  }
  SUBCASE("an RST or another source is not answered") {
    t.send(VsockOp::rst, 1, 2);
    bad.src_cid = 4;
    t.send(bad, "x");
    t.settle();
    CHECK_FALSE(t.take_packet());
  }
  SUBCASE("an unknown operation, a second request, a response to nothing") {
    for (const uint16_t op : std::initializer_list<uint16_t>{0, 1, 2, 8, 0xffff}) {
      t.send(VsockOp::request, 9, kListened + 1);
      CHECK(t.wait_packet()->op == VsockOp::response);
      auto header = VsockGuest::header(VsockOp::rw, 9, kListened + 1);
      header.op = op;
      t.send(header);
      expect_rst(kListened + 1);
    }
  }
  SUBCASE("more data than the packet has") {
    t.send(VsockOp::request, 9, kListened + 1);
    CHECK(t.wait_packet()->op == VsockOp::response);
    auto header = VsockGuest::header(VsockOp::rw, 9, kListened + 1);
    header.len = 0xffff'ffff;
    t.send(header, "short");
    expect_rst(kListened + 1);
  }
  CHECK_FALSE(t.transport->needs_reset());
  t.send_op(VsockOp::rw, "alive");
  CHECK(read_some(t.host) == "alive");
}

TEST_CASE_TEMPLATE("vsock: a packet shorter than its header, and a receive buffer too small", Bus,
                   OnMmio, OnPci) {
  SUBCASE("packet") {
    VsockGuestOn<Bus> t;
    t.send_chain({{VsockGuest::kTxData, 43}});
    CHECK(t.transport->needs_reset());
  }
  SUBCASE("receive buffer") {
    VsockGuestOn<Bus> t({}, 0);
    t.rx.describe(0, {VsockGuest::kRxData, 43, kWrite});
    t.rx.offer(0);
    t.send(VsockOp::request, 1, 2);
    CHECK(t.transport->needs_reset());
  }
  SUBCASE("buffers of the wrong direction") {
    VsockGuestOn<Bus> t;
    t.send_chain({{VsockGuest::kTxData, 4096, kWrite}});
    CHECK(t.transport->needs_reset());
  }
}

TEST_CASE("vsock: RSTs for a guest that takes none are limited") {
  VsockGuest t({.pending_resets = 3}, 0);
  for (uint32_t i = 0; i < 20; ++i) t.send(VsockOp::request, i, 99);
  for (uint16_t i = 0; i < VsockGuest::kSize; ++i) t.give_back(i);
  t.settle();
  int answers = 0;
  while (t.take_packet()) ++answers;
  CHECK(answers == 3);
}

TEST_CASE("vsock: connections that come and go cost no memory without receive buffers") {
  VsockGuest t({}, 0);
  t.device().listen(kListened, [](Fd) {});
  t.send(VsockOp::rw, 1, 2);  // its RST waits at the front
  const auto come_and_go = [&t](int times) {
    for (int i = 0; i < times; ++i) {
      t.send(VsockOp::request, 9, kListened);
      t.send(VsockOp::rst, 9, kListened);
      if (i % 50 == 0) t.settle();
    }
    t.settle();
  };
  come_and_go(1000);
  CHECK(t.device().connections() == 0);
  const size_t before = ::mallinfo2().uordblks;
  come_and_go(20'000);
  CHECK(::mallinfo2().uordblks < before + 64 * 1024);
}

TEST_CASE_TEMPLATE("vsock: a driver's reset ends everything, and the next driver starts clean", Bus,
                   OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t;
  std::optional<ErrorCode> code;
  t.device().connect(77, [&](Result<Fd> done) { code = done.error().code; });
  t.send_op(VsockOp::rw, "before");
  // As a vCPU thread does it, while the loop sleeps.
  std::thread([&] { write_register(*t.transport, vmm::mmio::kStatus, 0); }).join();
  CHECK(t.device().connections() == 0);
  CHECK(run_until(*t.loop, [&] { return code.has_value(); }));
  CHECK(code == ErrorCode::vm_gone);
  CHECK(read_some(t.host) == "before");
  CHECK(at_end(t.host));
  for (MockRing* ring : {&t.rx, &t.tx, &t.event}) {
    ring->wind_to(0);
    ring->clear_kick_event();
  }
  start_driver(*t.transport, VsockGuest::kFeatures, {&t.rx, &t.tx, &t.event});
  for (uint16_t i = 0; i < VsockGuest::kSize; ++i) t.give_back(i);
  t.send_op(VsockOp::request);
  CHECK(t.wait_packet()->op == VsockOp::response);
}

TEST_CASE_TEMPLATE("vsock: reset_connections ends them and sends the event", Bus, OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t;
  t.device().reset_connections();
  CHECK(t.device().connections() == 0);
  t.settle();
  CHECK(at_end(t.host));
  CHECK(t.event.take_used() == UsedElement{0, 4});
  t.send_op(VsockOp::rw, "stale");
  CHECK(t.wait_packet()->op == VsockOp::rst);
}

TEST_CASE_TEMPLATE("vsock: a restored device resets the transport and goes on with new ports", Bus,
                   OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t;
  t.device().connect(77, [](Result<Fd>) {});
  const uint32_t before = t.wait_packet()->src_port;
  t.transport->pause();
  ::send(t.host.get(), "late", 4, 0);  // waits in the socket while paused
  t.settle();
  REQUIRE(t.transport->idle());
  state::Writer out;
  REQUIRE(t.transport->save(out, 0));
  const wire::Bytes file = out.finish();
  const auto in = state::Reader::parse(file);
  REQUIRE(in);

  SUBCASE("the original runs on") {
    t.transport->resume();
    CHECK(t.wait_packet()->data == "late");
    CHECK_FALSE(t.event.take_used());
  }
  SUBCASE("the clone has none of its connections") {
    t.renew({});
    REQUIRE(t.transport->restore(*in, 0));
    CHECK_FALSE(t.event.take_used());
    CHECK(t.device().connections() == 0);
    t.transport->resume();
    CHECK(t.event.take_used() == UsedElement{0, 4});
    uint32_t id = 77;
    CHECK(t.memory.read(VsockGuest::kEventData, id));
    CHECK(id == vmm::kEventTransportReset);
    t.send_op(VsockOp::rw, "from before");
    CHECK(t.wait_packet()->op == VsockOp::rst);
    t.device().connect(77, [](Result<Fd>) {});
    CHECK(t.wait_packet()->src_port == before + 1);
  }
}

TEST_CASE_TEMPLATE("vsock: what the guest asks for waits until it has handled the transport reset",
                   Bus, OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t;
  // As in Linux: with others there, the buffer of a handled event comes back without a kick.
  for (uint16_t i = 1; i < 8; ++i) {
    t.event.describe(i, {VsockGuest::kEventData + 8u * i, 8, kWrite});
    t.event.offer(i);
  }
  t.transport->pause();
  t.send(VsockOp::request, 9, kListened);  // stands in the ring
  t.settle();
  state::Writer out;
  REQUIRE(t.transport->save(out, 0));
  const wire::Bytes file = out.finish();
  const auto in = state::Reader::parse(file);
  REQUIRE(in);
  std::vector<Fd> accepted;
  const auto restore = [&](vmm::VsockLimits limits) {
    t.renew(limits);
    REQUIRE(t.transport->restore(*in, 0));
    t.device().listen(kListened, [&](Fd fd) { accepted.push_back(std::move(fd)); });
    t.transport->resume();
    CHECK(t.event.take_used() == UsedElement{0, 4});
  };
  const auto handle_reset = [&] {
    t.event.offer(0);
    t.kick(t.event, 2, static_cast<uint16_t>(t.event.next_available - 1));
  };

  SUBCASE("as Linux shows it: by giving the event buffer back") {
    restore({.early_wait = std::chrono::seconds(30)});
    t.device().connect(77, [](Result<Fd>) {});  // ours has to wait, too
    t.send(VsockOp::request, 10, kListened);
    t.send(VsockOp::request, 10, kListened);  // once again is still one
    t.send(VsockOp::request, 11, kListened);
    t.send(VsockOp::rst, 11, kListened);  // and no more
    t.settle();
    CHECK(t.take_packet() == std::nullopt);
    CHECK(t.device().connections() == 1);
    handle_reset();
    const auto asked = t.wait_packet();
    REQUIRE(asked);
    CHECK(asked->op == VsockOp::request);
    CHECK(asked->dst_port == 77);
    for (const uint32_t port : {9u, 10u}) {
      const auto taken = t.wait_packet();
      REQUIRE(taken);
      CHECK(taken->op == VsockOp::response);
      CHECK(taken->dst_port == port);
    }
    t.settle();
    CHECK(accepted.size() == 2);
    CHECK(t.take_packet() == std::nullopt);
  }
  SUBCASE("seen with the guest's next packet") {
    restore({.early_wait = std::chrono::seconds(30)});
    handle_reset();
    t.send(VsockOp::request, 10, kListened);
    CHECK(t.take_packet()->dst_port == 9);
    CHECK(t.take_packet()->dst_port == 10);
  }
  SUBCASE("a driver that gives none back waits for a while") {
    restore({.early_wait = std::chrono::milliseconds(20)});
    CHECK(t.take_packet() == std::nullopt);
    const auto taken = t.wait_packet();
    REQUIRE(taken);
    CHECK(taken->op == VsockOp::response);
  }
  SUBCASE("not more than a few wait") {
    restore({.early_requests = 2});
    t.send(VsockOp::request, 10, kListened);
    t.send(VsockOp::request, 11, kListened);
    const auto refused = t.wait_packet();
    REQUIRE(refused);
    CHECK(refused->op == VsockOp::rst);
    CHECK(refused->dst_port == 11);
  }
  SUBCASE("a driver that starts anew takes nothing of it along") {
    restore({});
    write_register(*t.transport, vmm::mmio::kStatus, 0);
    t.settle();
    CHECK(t.device().connections() == 0);
    CHECK(accepted.empty());
  }
}

TEST_CASE("vsock: a bad state body is refused") {
  auto loop = std::move(*sys::Loop::create());
  vmm::VsockDevice device(*loop);
  const wire::Bytes good = device.save();
  CHECK(device.restore(good));
  for (size_t length = 0; length < good.size(); ++length) {
    CHECK_FALSE(device.restore(wire::ByteView(good).first(length)));
  }
  CHECK_FALSE(device.restore(vmm::VsockState{4, vmm::kFirstHostPort}.encode()));
  CHECK_FALSE(device.restore(vmm::VsockState{3, 80}.encode()));
}
