// A conversation with a worker whose end the test plays.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <vector>

#include "host/worker/control_client.hpp"
#include "sys/socket.hpp"

namespace microvm::test {

// Counted from each call: a fixed one would have passed before the later tests run.
inline host::Limits limits() {
  return host::Limits({}, std::chrono::seconds(5));
}

// A client and a worker's end that the test plays.
struct WorkerPair {
  using Peer = host::ControlClient::Peer;
  using Ahead = host::ControlClient::Ahead;
  explicit WorkerPair(Peer peer = Peer::own, Ahead ahead = Ahead::none) {
    auto sockets = sys::seqpacket_pair();
    REQUIRE(sockets);
    worker = std::move(sockets->first);
    REQUIRE(sys::set_nonblocking(worker.get()));
    REQUIRE(sys::set_nonblocking(sockets->second.get()));
    client = host::ControlClient::start(
        *reactor, std::move(sockets->second), {}, [this] { ++ends; }, peer, ahead);
  }
  ~WorkerPair() { client->close(); }

  // Answers one request.
  void answer(wire::Message message, std::vector<int> fds = {}) {
    const auto request = host::receive_control(worker.get(), limits(), "test");
    REQUIRE(request);
    send({request->envelope.request_id, std::move(message)}, fds);
  }
  // In the version that it was asked in.
  void answer_in_kind(wire::Message message) {
    const auto request = host::receive_control(worker.get(), limits(), "test");
    REQUIRE(request);
    send({request->envelope.request_id, std::move(message), request->envelope.version});
  }
  // Takes the question which versions it speaks.
  uint32_t take_greeting() {
    const auto request = host::receive_control(worker.get(), limits(), "test");
    REQUIRE(request);
    CHECK(wire::is_greeting(request->envelope));
    return request->envelope.request_id;
  }
  void send(const wire::Envelope& envelope, std::vector<int> fds = {}) {
    REQUIRE(host::send_control(worker.get(), envelope, fds, limits(), "test"));
  }
  // What was posted before is through.
  void settle() {
    std::promise<void> through;
    reactor->post([&] { through.set_value(); });
    through.get_future().wait();
  }
  Result<host::ControlClient::Reply> call() {
    return client->call(wire::InfoRequest{}, {}, limits(), "ask");
  }

  std::unique_ptr<host::Reactor> reactor = std::move(*host::Reactor::create());
  base::Fd worker;
  std::shared_ptr<host::ControlClient> client;
  std::atomic<int> ends{0};  // as often as the client was told of one
};

}  // namespace microvm::test
