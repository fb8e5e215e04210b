#include "vmm/virtio/vsock/vsock.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/control/jail.hpp"
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
constexpr uint32_t kGuestPort = Open::kGuestPort;

std::string pattern(size_t bytes) {
  std::string data(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(i * 31 + i / 251);
  return data;
}

// As run_until(), but the test itself keeps the traffic going: no sleep between two looks.
template <class Condition>
bool spin_until(sys::Loop& loop, Condition done) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    loop.run_once(0ms);
  }
  return true;
}

// A host's connect() that the guest has seen.
struct Connecting : VsockGuest {
  explicit Connecting(VsockLimits limits = {}) : VsockGuest(limits) {
    device().connect(kGuestPort, [this](Result<Fd> done) { result = std::move(done); });
    // At once: no round of the loop, no socket, only the guest's next look.
    const auto request = take_packet();
    REQUIRE(request);
    CHECK(request->op == VsockOp::request);
    CHECK(request->dst_port == kGuestPort);
    CHECK(request->buf_alloc == limits.window_bytes);
    host_port = request->src_port;
    CHECK(irq.count > 0);
    CHECK_FALSE(result);
  }
  std::optional<Result<Fd>> result;
  uint32_t host_port = 0;
};

}  // namespace

TEST_CASE_TEMPLATE("vsock: the guest connects and bytes go both ways", Bus, OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t;
  t.send_op(VsockOp::rw, "hello host");
  CHECK(read_some(t.host) == "hello host");
  CHECK(write_some(t.host, "hello guest") == 11);
  const auto packet = t.wait_packet();
  REQUIRE(packet);
  CHECK(packet->op == VsockOp::rw);
  CHECK(packet->data == "hello guest");
  CHECK(packet->fwd_cnt == 10);
  CHECK(t.device().connections() == 1);
}

TEST_CASE("vsock: a port nobody listens to is refused") {
  VsockGuest t;
  t.send(VsockOp::request, kGuestPort, 99);
  const auto answer = t.wait_packet();
  REQUIRE(answer);
  CHECK(answer->op == VsockOp::rst);
  CHECK(answer->src_port == 99);
  CHECK(answer->dst_port == kGuestPort);
  CHECK(t.device().connections() == 0);
}

TEST_CASE("vsock: the host connects") {
  Connecting t;
  t.send(VsockOp::response, kGuestPort, t.host_port);
  CHECK(run_until(*t.loop, [&] { return t.result.has_value(); }));
  REQUIRE(*t.result);
  write_some(**t.result, "ping");
  const auto packet = t.wait_packet();
  REQUIRE(packet);
  CHECK(packet->data == "ping");
}

TEST_CASE("vsock: the host's connect is refused, times out, has no driver, is one too many") {
  SUBCASE("refused") {
    Connecting t;
    t.send(VsockOp::rst, kGuestPort, t.host_port);
    CHECK(run_until(*t.loop, [&] { return t.result.has_value(); }));
    CHECK(t.result->error().code == ErrorCode::connection_refused);
    CHECK(t.device().connections() == 0);
  }
  SUBCASE("no answer") {
    Connecting t({.connect = 10ms});
    CHECK(run_until(*t.loop, [&] { return t.result.has_value(); }));
    CHECK(t.result->error().code == ErrorCode::deadline_exceeded);
    CHECK(t.take_packet()->op == VsockOp::rst);
    t.send(VsockOp::response, kGuestPort, t.host_port);  // too late
    CHECK(t.wait_packet()->op == VsockOp::rst);
  }
  SUBCASE("no driver") {
    auto loop = std::move(*sys::Loop::create());
    vmm::VsockDevice device(*loop);
    std::optional<ErrorCode> code;
    device.connect(1, [&](Result<Fd> done) { code = done.error().code; });
    loop->run_once(0ms);
    CHECK(code == ErrorCode::connection_refused);
  }
  SUBCASE("too many") {
    Connecting t({.connections = 1});
    std::optional<ErrorCode> code;
    t.device().connect(1, [&](Result<Fd> done) { code = done.error().code; });
    t.settle();
    CHECK(code == ErrorCode::busy);
    t.device().listen(kListened, [](Fd) {});
    t.send(VsockOp::request, 7, kListened);
    CHECK(t.wait_packet()->op == VsockOp::rst);
  }
}

TEST_CASE_TEMPLATE("vsock: 1 MiB to the host through a small window", Bus, OnMmio, OnPci) {
  ConnectedVsockGuestOn<Bus> t({.window_bytes = 8192});
  const std::string data = pattern(1 << 20);
  std::string got;
  size_t sent = 0;
  uint32_t forwarded = 0;
  const bool all = spin_until(*t.loop, [&] {
    const size_t credit = 8192 - (static_cast<uint32_t>(sent) - forwarded);
    const size_t step = std::min({credit, data.size() - sent, size_t{3000}});
    if (step > 0) t.send_op(VsockOp::rw, std::string_view(data).substr(sent, step));
    sent += step;
    got += read_some(t.host);
    while (const auto packet = t.take_packet()) {
      CHECK(packet->op == VsockOp::credit_update);
      CHECK(packet->buf_alloc == 8192);
      forwarded = packet->fwd_cnt;
    }
    return got.size() == data.size();
  });
  CHECK(all);
  CHECK(got.size() == data.size());
  CHECK((got == data));
}

TEST_CASE_TEMPLATE("vsock: 1 MiB to the guest through a small credit", Bus, OnMmio, OnPci) {
  constexpr uint32_t kRoom = 6000;
  ConnectedVsockGuestOn<Bus> t({}, kRoom);
  const std::string data = pattern(1 << 20);
  std::string got;
  size_t written = 0;
  size_t asked = 0;
  const bool all = spin_until(*t.loop, [&] {
    written += write_some(t.host, std::string_view(data).substr(written));
    while (const auto packet = t.take_packet()) {
      got += packet->data;
      if (packet->op != VsockOp::credit_request) continue;
      ++asked;
      auto update = VsockGuest::header(VsockOp::credit_update, kGuestPort, kListened);
      update.buf_alloc = kRoom;
      update.fwd_cnt = static_cast<uint32_t>(got.size());
      t.send(update);
    }
    return got.size() == data.size();
  });
  CHECK(all);
  CHECK((got == data));
  CHECK(asked >= data.size() / kRoom);
}

TEST_CASE("vsock: without credit nothing is read from the host's socket") {
  Open t({}, 1000);
  const std::string data = pattern(5000);
  CHECK(write_some(t.host, data) == 5000);
  CHECK(t.wait_packet()->data == data.substr(0, 1000));
  CHECK(t.wait_packet()->op == VsockOp::credit_request);
  t.settle();
  CHECK_FALSE(t.take_packet());
  auto update = VsockGuest::header(VsockOp::credit_update, kGuestPort, kListened);
  update.buf_alloc = 1000;
  update.fwd_cnt = 0xffff'0000;  // nonsense: still no credit
  t.send(update);
  t.settle();
  CHECK_FALSE(t.take_packet());
  update.fwd_cnt = 600;
  t.send(update);
  CHECK(t.wait_packet()->data == data.substr(1000, 600));
}

TEST_CASE("vsock: a host that stops reading costs one window, and overspending the connection") {
  Open t({.window_bytes = 4096});
  const std::string block(4096, 'b');
  size_t accepted = 0;
  // The socket's own buffer takes some first. Once it is full no credit comes back.
  uint32_t forwarded = 0;
  while (static_cast<uint32_t>(accepted) - forwarded < 4096) {
    t.send_op(VsockOp::rw, block);
    accepted += block.size();
    t.settle();
    while (const auto packet = t.take_packet()) forwarded = packet->fwd_cnt;
  }
  CHECK(accepted < (4u << 20));
  t.send_op(VsockOp::credit_request);
  CHECK(t.wait_packet()->fwd_cnt == forwarded);
  SUBCASE("it reads on") {
    std::string got;
    CHECK(run_until(*t.loop, [&] { return (got += read_some(t.host)).size() == accepted; }));
    CHECK(t.wait_packet()->fwd_cnt == accepted);
  }
  SUBCASE("the guest sends on") {
    t.send_op(VsockOp::rw, "!");
    CHECK(t.wait_packet()->op == VsockOp::rst);
    std::string got;
    CHECK(run_until(*t.loop, [&] {
      got += read_some(t.host);
      return at_end(t.host);
    }));
    CHECK(got.size() == accepted);  // what came before still arrives
    CHECK(t.device().connections() == 0);
  }
}

TEST_CASE_TEMPLATE("vsock: without receive buffers data waits, and goes on when there are some",
                   Bus, OnMmio, OnPci) {
  VsockGuestOn<Bus> t({}, 1);
  Fd host;
  t.device().listen(kListened, [&](Fd fd) { host = std::move(fd); });
  t.send(VsockOp::request, kGuestPort, kListened);
  t.settle();
  REQUIRE(host);
  write_some(host, "later");
  t.settle();
  CHECK(t.take_packet(true)->op == VsockOp::response);
  t.settle();
  CHECK_FALSE(t.take_packet());
  t.give_back(0);  // kicks only if the device asked for it
  CHECK(t.wait_packet()->data == "later");
}

TEST_CASE("vsock: connections take turns") {
  Open t;
  Fd second;
  t.device().listen(kListened + 1, [&](Fd fd) { second = std::move(fd); });
  t.send(VsockOp::request, kGuestPort, kListened + 1);
  CHECK(t.wait_packet()->op == VsockOp::response);
  t.settle();
  const std::string data = pattern(150'000);
  write_some(t.host, data);
  write_some(second, "quick");
  int before = 0;
  while (true) {
    const auto packet = t.wait_packet();
    REQUIRE(packet);
    if (packet->data == "quick") break;
    ++before;
  }
  CHECK(before <= 17);  // one turn of 64 KiB
}

// The worker's seccomp filter must let through what a stream needs; a refused call shows only here.
TEST_CASE("vsock: works inside the worker's jail") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    bool works = false;
    {
      Open t;
      works = vmm::control::lock_down().has_value();
      Fd second;
      t.device().listen(kListened + 1, [&](Fd fd) { second = std::move(fd); });
      t.send(VsockOp::request, kGuestPort, kListened + 1);
      (void)t.wait_packet();
      t.settle();
      t.send(VsockOp::rw, kGuestPort, kListened + 1, "out");
      works = works && read_some(second) == "out";
      works = works && write_some(second, "in") == 2;
      const auto packet = t.wait_packet();
      works = works && packet && packet->data == "in";
      second.reset();
      const auto last = t.wait_packet();
      works = works && last && last->flags == vmm::kShutdownBoth;
    }
    ::_exit(works ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
