// Frames whose write must not wait: what has gone, what goes on, and what never was sent.
#include "host/session/frame_stream.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <thread>

#include "host/session/operation.hpp"
#include "sys/socket.hpp"
#include "unit/host/session/pollable.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::would_block;
using wire::FrameType;

namespace {

Limits frame_limits() {
  return Limits({}, std::chrono::seconds(20));
}

}  // namespace

TEST_CASE("frame stream: a frame that went in part is finished before the next one") {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  const int small = 4096;
  ::setsockopt(pair->first.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  FrameWriter writer;
  const wire::Bytes large(200'000, std::byte{'l'});
  bool taken = false;
  const auto sent = writer.write(pair->first.get(), FrameType::stdin_data, large, Limits::at_once(),
                                 "test", &taken);
  CHECK(would_block(sent));
  CHECK(taken);
  bool signal_taken = false;
  CHECK(would_block(writer.write(pair->first.get(), FrameType::signal, wire::as_bytes("s"),
                                 Limits::at_once(), "test", &signal_taken)));
  CHECK_FALSE(signal_taken);
  std::thread writes([&] {
    CHECK(writer.write(pair->first.get(), FrameType::signal, wire::as_bytes("s"), frame_limits(),
                       "test"));
  });
  FrameReader reader;
  const auto first = reader.read(pair->second.get(), frame_limits(), "test");
  REQUIRE((first && *first));
  CHECK((*first)->body == large);
  const auto second = reader.read(pair->second.get(), frame_limits(), "test");
  REQUIRE((second && *second));
  CHECK((*second)->type == FrameType::signal);
  writes.join();
}

TEST_CASE("frame stream: it takes a piece of a call that does not wait whole or not at all") {
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  FrameWriter writer;
  const wire::Bytes piece(kPieceAtOnce, std::byte{'p'});
  for (int i = 0; i < 200; i++) {
    bool taken = false;
    const auto sent = writer.write(pair->first.get(), FrameType::stdin_data, piece,
                                   Limits::at_once(), "test", &taken);
    CHECK(taken == sent.has_value());
    if (sent) continue;
    // One byte less of room than it takes, and more and more of it.
    std::array<char, 3001> some{};
    REQUIRE(::recv(pair->second.get(), some.data(), some.size(), MSG_DONTWAIT) > 0);
  }
}

TEST_CASE("frame stream: several frames in a row go out as one") {
  auto pair = sys::seqpacket_pair();  // keeps what is sent at once together
  REQUIRE(pair);
  FrameWriter writer;
  const FrameToSend frames[] = {{FrameType::exec, wire::as_bytes("ab")},
                                {FrameType::arguments, {}},
                                {FrameType::environment, wire::as_bytes("c")}};
  bool taken = false;
  REQUIRE(writer.write(pair->first.get(), frames, frame_limits(), "test", &taken));
  CHECK(taken);
  std::array<char, 64> got{};
  const auto size = ::recv(pair->second.get(), got.data(), got.size(), MSG_DONTWAIT);
  const std::string_view expected(
      "\2\0\0\0\x10"
      "ab\0\0\0\0\x2c\1\0\0\0\x2d"
      "c",
      18);
  CHECK(std::string_view(got.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))) == expected);
}
