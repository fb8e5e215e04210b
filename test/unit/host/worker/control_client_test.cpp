#include "host/worker/control_client.hpp"

#include <doctest/doctest.h>
#include <poll.h>

#include <future>
#include <thread>

#include "host/worker/vm_link.hpp"
#include "unit/host/worker/worker_pair.hpp"
#include "unit/sys/no_room_for_fds.hpp"

using namespace microvm;
using namespace microvm::host;
using test::limits;
using Pair = test::WorkerPair;

TEST_CASE("control client: replies find their callers in any order") {
  Pair pair;
  std::thread worker([&] {
    const auto first = receive_control(pair.worker.get(), limits(), "test");
    const auto second = receive_control(pair.worker.get(), limits(), "test");
    REQUIRE((first && second));
    for (const auto* request : {&*second, &*first}) {
      wire::InfoReply info;
      info.exits = request->envelope.request_id;
      pair.send({request->envelope.request_id, info});
    }
  });
  std::thread other([&] { CHECK(pair.call()); });
  CHECK(pair.call());
  other.join();
  worker.join();
}

TEST_CASE(
    "control client: a worker's error is the caller's, its text cleaned and its code checked") {
  Pair pair;
  std::thread worker([&] {
    pair.answer(wire::ErrorReply{static_cast<uint32_t>(ErrorCode::corrupt), "bad\nstate\x1b[31m"});
    pair.answer(wire::ErrorReply{9999, "x"});
  });
  const auto corrupt = pair.call();
  CHECK(corrupt.error().code == ErrorCode::corrupt);
  CHECK(corrupt.error().message == "bad state?[31m");
  CHECK(pair.call().error().code == ErrorCode::internal);
  worker.join();
}

TEST_CASE("control client: a stream that there is no fd for costs its caller, not the microvm") {
  Pair pair;
  std::thread worker([&] {
    const auto request = receive_control(pair.worker.get(), limits(), "test");
    const test::NoRoomForFds full;
    pair.send({request->envelope.request_id, wire::OkReply{}}, {pair.worker.get()});
    while (sys::has_unread(pair.worker.get())) std::this_thread::yield();
  });
  const auto open_stream = [&] {
    return pair.client->call_for_stream(wire::InfoRequest{}, limits(), "reach the agent");
  };
  const auto failed = open_stream();
  worker.join();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::io);
  CHECK(failed.error().message.starts_with("reach the agent: too many open files"));
  std::thread again([&] { pair.answer(wire::OkReply{}, {pair.worker.get()}); });
  CHECK(open_stream());
  again.join();
}

TEST_CASE("control client: the end of the worker fails pending calls with the reason") {
  Pair pair;
  std::thread worker([&] {
    const auto request = receive_control(pair.worker.get(), limits(), "test");
    pair.send({0, wire::ExitEvent{wire::ExitEvent::Reason::panic, "Kernel panic: x"}});
    pair.worker.reset();
  });
  const auto failed = pair.call();
  worker.join();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::guest_failed);
  CHECK(failed.error().message.find("Kernel panic: x") != std::string::npos);
  CHECK(pair.client->wait_ended(limits(), "wait"));
  CHECK(pair.call().error().code == ErrorCode::guest_failed);
}

TEST_CASE("control client: what the worker said of a disk is known before its next reply") {
  Pair pair;
  std::thread worker([&] {
    pair.send(
        {0, wire::DiskErrorEvent{static_cast<uint32_t>(ErrorCode::out_of_disk), "disk\nfull"}});
    pair.send({0, wire::DiskErrorEvent{static_cast<uint32_t>(ErrorCode::io), "later"}});
    pair.answer(wire::OkReply{});
  });
  CHECK(pair.call());
  worker.join();
  const auto error = pair.client->disk_error();
  REQUIRE(error);
  CHECK(error->code == ErrorCode::out_of_disk);
  CHECK(error->message == "disk full");
}

TEST_CASE("control client: a worker that vanished was killed") {
  Pair pair;
  pair.worker.reset();
  CHECK(pair.client->wait_ended(limits(), "wait"));
  const auto failed = pair.call();
  CHECK(failed.error().code == ErrorCode::vm_gone);
  CHECK(failed.error().message == "ask: the microvm's worker was killed");
}

TEST_CASE("control client: an end is seen before the reactor has come to it") {
  Pair pair;
  std::promise<void> go_on;
  pair.reactor->post([&] { go_on.get_future().wait(); });
  CHECK_FALSE(pair.client->hung_up());
  pair.worker.reset();
  CHECK(pair.client->hung_up());
  CHECK(pair.client->ending());
  CHECK_FALSE(pair.client->ended());
  go_on.set_value();
  CHECK(pair.client->wait_ended(limits(), "wait"));
  CHECK(pair.client->hung_up());
}

TEST_CASE("control client: a worker that says how it ends is ending, though its socket is open") {
  Pair pair;
  pair.send({0, wire::ExitEvent{wire::ExitEvent::Reason::power_off, {}}});
  while (pair.ends == 0) std::this_thread::yield();
  CHECK(pair.client->ending());
  CHECK_FALSE(pair.client->hung_up());
  pair.worker.reset();
  CHECK(pair.client->wait_ended(limits(), "wait"));
  pair.settle();
  CHECK(pair.ends == 1);
}

TEST_CASE("control client: an end without a word is told; this side's own is not") {
  Pair pair;
  pair.worker.reset();
  while (pair.ends == 0) std::this_thread::yield();
  Pair other;
  other.client->close();
  CHECK(other.client->wait_ended(limits(), "wait"));
  other.settle();
  CHECK(other.ends == 0);
}

TEST_CASE("control client: garbage ends the conversation") {
  Pair pair;
  std::thread worker([&] {
    const auto request = receive_control(pair.worker.get(), limits(), "test");
    CHECK(sys::send_message(pair.worker.get(), wire::as_bytes("garbage")));
  });
  CHECK(pair.call().error().code == ErrorCode::protocol);
  worker.join();
}

TEST_CASE("control client: a call obeys its limits, and its late reply is dropped") {
  Pair pair;
  const Limits short_limits({}, std::chrono::milliseconds(20));
  const auto late = pair.client->call(wire::InfoRequest{}, {}, short_limits, "ask");
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  CancelToken token;
  token.cancel();
  const CallLimits cancelled{.cancel = &token, .timeout = {}};
  CHECK(pair.client->call(wire::InfoRequest{}, {}, Limits(cancelled), "ask").error().code ==
        ErrorCode::cancelled);
  std::thread worker([&] {
    for (int i = 0; i < 3; ++i) pair.answer(wire::OkReply{});
  });
  CHECK(pair.call());
  worker.join();
}

TEST_CASE("control client: a stream is handed over; too few or too many fds are refused") {
  Pair pair;
  std::thread worker([&] {
    const auto stream = sys::stream_pair();
    const int fd = stream->first.get();
    pair.answer(wire::OkReply{}, {fd});
    pair.answer(wire::OkReply{});
    pair.answer(wire::OkReply{}, {fd, fd});
  });
  const auto ask = [&] {
    return pair.client->call_for_stream(wire::ConnectRequest{1}, limits(), "open");
  };
  CHECK(ask());
  CHECK(ask().error().code == ErrorCode::protocol);
  CHECK(ask().error().code == ErrorCode::protocol);
  worker.join();
}

namespace {

// The version of the next request, which is answered.
uint16_t spoken_version(Pair& pair) {
  std::thread caller([&] { CHECK(pair.call()); });
  const auto request = receive_control(pair.worker.get(), limits(), "test");
  REQUIRE(request);
  pair.send({request->envelope.request_id, wire::OkReply{}, request->envelope.version});
  caller.join();
  return request->envelope.version;
}

}  // namespace

TEST_CASE("control client: a worker of version 1 is spoken to in version 1") {
  const wire::Message answers[] = {
      wire::InfoReply{},
      wire::ErrorReply{static_cast<uint32_t>(ErrorCode::busy), "no machine yet"}};
  for (const auto& answer : answers) {
    Pair pair(Pair::Peer::unknown);
    pair.send({pair.take_greeting(), answer, 1});
    CHECK(spoken_version(pair) == 1);
    CHECK(spoken_version(pair) == 1);
  }
}

TEST_CASE("control client: the newest version that both speak is spoken") {
  for (const auto& [versions, spoken] :
       {std::pair{wire::VersionsReply{1, 1}, 1}, std::pair{wire::VersionsReply{1, 2}, 2},
        std::pair{wire::VersionsReply{2, 7}, 2}}) {
    Pair pair(Pair::Peer::unknown);
    pair.send({pair.take_greeting(), versions});
    CHECK(spoken_version(pair) == spoken);
  }
}

TEST_CASE("control client: one's own worker is not asked what it speaks") {
  Pair pair(Pair::Peer::own);
  CHECK(spoken_version(pair) == wire::kControlVersion);
}

TEST_CASE("control client: a worker of other versions alone is refused by name") {
  Pair pair(Pair::Peer::unknown);
  pair.send({pair.take_greeting(), wire::VersionsReply{3, 5}});
  const auto refused = pair.call();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message ==
        "ask: the worker speaks versions 3 to 5 of the control wire, this library 1 to 2: use the "
        "library that started it, or a newer one");
  CHECK(pair.client->ended());
}

TEST_CASE("control client: a message in a newer version is not guessed at") {
  Pair pair;
  auto bytes = wire::encode({0, wire::ExitEvent{}});
  REQUIRE(bytes);
  (*bytes)[0] = std::byte{3};
  REQUIRE(sys::send_message(pair.worker.get(), *bytes));
  CHECK(pair.client->wait_ended(limits(), "wait"));
  const auto refused = pair.call();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message ==
        "ask: the worker speaks version 3 of the control wire, of which versions 1 to 2 are known "
        "here: use the library that started it, or a newer one");
  CHECK_FALSE(pair.client->exit_event());
}

TEST_CASE("control client: calls wait for the answer to the greeting within their limits") {
  Pair pair(Pair::Peer::unknown);
  const Limits short_limits({}, std::chrono::milliseconds(20));
  const auto late = pair.client->call(wire::InfoRequest{}, {}, short_limits, "ask");
  CHECK(late.error().code == ErrorCode::deadline_exceeded);
  pair.worker.reset();
  const auto gone = pair.call();
  CHECK(gone.error().code == ErrorCode::vm_gone);
  CHECK(gone.error().message == "ask: the microvm's worker was killed");
}

TEST_CASE("control client: events that are not known are passed over") {
  Pair pair;
  auto unknown = wire::encode({0, wire::DiskErrorEvent{9, "disk full"}});
  REQUIRE(unknown);
  (*unknown)[2] = std::byte{200};
  REQUIRE(sys::send_message(pair.worker.get(), *unknown));
  CHECK(spoken_version(pair) == wire::kControlVersion);
  CHECK_FALSE(pair.client->disk_error());
}

namespace {

// A client whose worker was asked for a stream before, and a way to the agent by it.
struct AskedPair : Pair {
  AskedPair() : Pair(Peer::own, Ahead::asked) {}
  // The worker's answer; its end of the stream.
  base::Fd answer_ahead() {
    auto stream = sys::stream_pair();
    REQUIRE(stream);
    send({kAheadId, wire::OkReply{}}, {stream->first.get()});
    return std::move(stream->second);
  }
  // The agent's port reached by a request of its own.
  void open_anew() {
    std::thread serving([this] { answer(wire::OkReply{}, {worker.get()}); });
    CHECK(link.open(limits()));
    serving.join();
  }

  VmLink link{client};
};

}  // namespace

TEST_CASE("control client: a stream that was asked for ahead is the first one's who needs one") {
  AskedPair pair;
  auto first = std::async(std::launch::async, [&] { return pair.link.open(limits()); });
  const base::Fd guest = pair.answer_ahead();
  const auto stream = first.get();
  REQUIRE(stream);
  CHECK(::write(guest.get(), "x", 1) == 1);
  CHECK_FALSE(is_quiet(stream->get()));
  CHECK(is_quiet(pair.worker.get()));  // nothing was asked
  pair.open_anew();
}

TEST_CASE("control client: one that ended, was refused or dropped is opened anew") {
  AskedPair pair;
  SUBCASE("ended") {
    pair.answer_ahead().reset();
    pair.open_anew();
  }
  SUBCASE("refused") {
    pair.send({kAheadId, wire::ErrorReply{static_cast<uint32_t>(ErrorCode::busy), "full"}});
    pair.open_anew();
  }
  SUBCASE("dropped before its answer") {
    pair.client->drop_ahead();
    pair.open_anew();
    const base::Fd guest = pair.answer_ahead();
    CHECK(Limits({}, std::chrono::seconds(5)).wait(guest.get(), POLLIN, "its end"));
  }
  SUBCASE("dropped after it") {
    const base::Fd guest = pair.answer_ahead();
    pair.client->drop_ahead();
    CHECK(Limits({}, std::chrono::seconds(5)).wait(guest.get(), POLLIN, "its end"));
    pair.open_anew();
  }
}

TEST_CASE("control client: it is closed when nobody needs it for some seconds") {
  AskedPair pair;
  const base::Fd guest = pair.answer_ahead();
  CHECK_FALSE(Limits({}, std::chrono::seconds(1)).wait(guest.get(), POLLIN, "its end"));
  CHECK(Limits({}, std::chrono::seconds(20)).wait(guest.get(), POLLIN, "its end"));
}

TEST_CASE("control client: who waits for it obeys his limits, and does not outwait the worker") {
  AskedPair pair;
  SUBCASE("limits") {
    const auto late = pair.link.open(Limits({}, std::chrono::milliseconds(20)));
    CHECK(late.error().code == ErrorCode::deadline_exceeded);
    pair.answer_ahead();  // dropped
    pair.open_anew();
  }
  SUBCASE("the worker's end") {
    auto waiting = std::async(std::launch::async, [&] { return pair.link.open(limits()); });
    pair.worker.reset();
    CHECK(waiting.get().error().code == ErrorCode::vm_gone);
  }
}
