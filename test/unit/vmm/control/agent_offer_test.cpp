#include "vmm/control/agent_offer.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "sys/socket.hpp"

using namespace microvm;
using vmm::control::AgentOffer;
using vmm::control::Connection;

namespace {

// A worker whose guest rings, and the owner's end of its socket.
struct Fixture {
  Fixture() {
    auto sockets = sys::seqpacket_pair();
    REQUIRE(sockets);
    owner = std::move(sockets->second);
    REQUIRE(sys::set_nonblocking(owner.get()));
    REQUIRE(sys::set_nonblocking(sockets->first.get()));
    connection = std::make_unique<Connection>(
        *loop, std::move(sockets->first),
        Connection::Callbacks{.message = [](wire::Envelope, std::vector<base::Fd>) {},
                              .closed = [this] { closed = true; }});
  }
  // As the guest does; the end that it keeps.
  base::Fd ring() { return ring(offer); }
  static base::Fd ring(AgentOffer& offer) {
    auto stream = sys::stream_pair();
    REQUIRE(stream);
    offer.ring(std::move(stream->first));
    return std::move(stream->second);
  }
  // The stream that the owner is handed, or none.
  base::Fd take() {
    auto message = sys::receive_message(owner.get());
    if (!message) return {};
    REQUIRE(message->fds.size() == 1);
    return std::move(message->fds[0]);
  }
  base::Fd wait_taken() {
    for (int i = 0; i < 200; ++i) {
      loop->run_once(std::chrono::milliseconds(5));
      if (auto fd = take()) return fd;
    }
    return {};
  }
  void run_for(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) loop->run_once(std::chrono::milliseconds(2));
  }

  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
  base::Fd owner;
  std::unique_ptr<Connection> connection;
  bool closed = false;
  bool somebody = true;
  AgentOffer offer{*loop, [this] { return somebody ? connection.get() : nullptr; }};
};

bool at_end(const base::Fd& stream) {
  char byte = 0;
  return ::recv(stream.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

// They are the two ends of one stream.
bool joined(const base::Fd& one, const base::Fd& other) {
  char byte = 0;
  return ::send(one.get(), "x", 1, MSG_NOSIGNAL) == 1 &&
         ::recv(other.get(), &byte, 1, MSG_DONTWAIT) == 1;
}

}  // namespace

TEST_CASE("agent offer: the first goes at once, whatever else the owner has not read") {
  Fixture t;
  t.connection->send({7, wire::OkReply{}});
  const base::Fd guest = t.ring();
  REQUIRE(sys::receive_message(t.owner.get()));
  CHECK(joined(guest, t.take()));
}

TEST_CASE("agent offer: a guest that rings without end does not cut off an owner that is busy") {
  Fixture t;
  const base::Fd first = t.ring();
  base::Fd last;
  for (int i = 0; i < 1000; ++i) {
    const base::Fd before = std::exchange(last, t.ring());
    if (before) CHECK(at_end(before));
    if (i % 100 == 0) t.run_for(std::chrono::milliseconds(15));
  }
  CHECK_FALSE(t.closed);
  CHECK(joined(first, t.take()));
  CHECK_FALSE(t.take());  // one was under way
  CHECK(joined(last, t.wait_taken()));
  CHECK_FALSE(t.closed);
}

TEST_CASE("agent offer: an owner that reads is not asked more than so often") {
  Fixture t;
  int taken = 0;
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(100)) {
    const base::Fd guest = t.ring();
    if (t.take()) ++taken;
    t.loop->run_once(std::chrono::milliseconds(0));
  }
  CHECK(taken >= 2);
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(taken <= took / AgentOffer::kPause + 2);
}

TEST_CASE("agent offer: it waits for somebody to come") {
  Fixture t;
  t.somebody = false;
  const base::Fd old = t.ring();
  const base::Fd guest = t.ring();
  CHECK(at_end(old));
  CHECK_FALSE(t.take());
  t.somebody = true;
  t.offer.offer();
  CHECK(joined(guest, t.take()));
}

TEST_CASE("agent offer: the loop may outlive it") {
  Fixture t;
  std::optional<AgentOffer> offer(std::in_place, *t.loop, [&] { return t.connection.get(); });
  for (int i = 0; i < 3; ++i) Fixture::ring(*offer);
  offer.reset();
  t.run_for(AgentOffer::kPause * 2);
  CHECK(t.take());
  CHECK_FALSE(t.take());
}
