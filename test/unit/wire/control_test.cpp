#include "wire/control.hpp"

#include <doctest/doctest.h>

using namespace microvm::wire;

namespace {

template <class T>
T round_trip(const T& message) {
  const auto decoded = decode(encode({42, message}));
  REQUIRE(decoded);
  CHECK(decoded->request_id == 42);
  REQUIRE(std::holds_alternative<T>(decoded->message));
  return std::get<T>(decoded->message);
}

}  // namespace

TEST_CASE("control: requests survive encode and decode") {
  const Shape shape{.memory_bytes = 128u << 20,
                    .peak_memory_bytes = 512u << 20,
                    .vcpus = 2,
                    .peak_vcpus = 8,
                    .disks = 1};
  CHECK(round_trip(ShapeRequest{shape}).shape == shape);

  const auto boot =
      round_trip(BootRequest{"quiet", {"abc", false}, {{true, false, 1}, {false, true, 3}}});
  CHECK(boot.cmdline == "quiet");
  CHECK_FALSE(boot.attachment.dies_with_owner);
  REQUIRE(boot.disks.size() == 2);
  CHECK(boot.disks[1].layers == 3);
  CHECK(boot.disks[1].hold_when_full);

  const auto restore = round_trip(RestoreRequest{{"abc", true}, {{false, false, 2}}, 3, true});
  CHECK(restore.disks.size() == 1);
  CHECK(restore.working_set);

  CHECK(round_trip(ConnectRequest{1025}).port == 1025);
  CHECK(round_trip(LogsRequest{LogsRequest::Which::app, true}).follow);
  CHECK(round_trip(TerminateRequest{true}).suspended);
  CHECK_FALSE(round_trip(TerminateRequest{}).suspended);
  round_trip(MergeRequest{});
}

TEST_CASE("control: what captures are asked with and started from survives") {
  const auto capture = round_trip(CaptureRequest{true, false});
  CHECK(capture.all_pages);
  CHECK_FALSE(capture.run_on);
  CHECK(round_trip(CaptureRequest{}).run_on);
  const auto reply = round_trip(CaptureReply{uint64_t{3} << 40, 17});
  CHECK(reply.page_bytes == uint64_t{3} << 40);
  CHECK(reply.pause_us == 17);
  const auto restore = round_trip(RestoreRequest{{"abc", true}, {{false, false, 2}}, 3});
  CHECK(restore.attachment.vm_id == "abc");
  CHECK(restore.disks.size() == 1);
  CHECK(restore.overlays == 3);
  CHECK(round_trip(ExitEvent{ExitEvent::Reason::suspended, ""}).reason ==
        ExitEvent::Reason::suspended);
}

TEST_CASE("control: flags and choices beyond what they can be are refused") {
  for (const Message& message : {Message(CaptureRequest{}), Message(TerminateRequest{})}) {
    Bytes bytes = encode({1, message});
    bytes.back() = std::byte{2};
    CHECK_FALSE(decode(bytes));
  }
  Bytes exit = encode({1, ExitEvent{ExitEvent::Reason::suspended, ""}});
  exit[8] = std::byte{7};
  CHECK_FALSE(decode(exit));
}

TEST_CASE("control: replies and events survive encode and decode") {
  CHECK(round_trip(ErrorReply{12, "no avx2"}).message == "no avx2");
  const auto exit = round_trip(ExitEvent{ExitEvent::Reason::panic, "kernel panic"});
  CHECK(exit.reason == ExitEvent::Reason::panic);
  CHECK(exit.detail == "kernel panic");
  CHECK(round_trip(DiskErrorEvent{9, "disk full"}).code == 9);
  CHECK(round_trip(InfoReply{1, true, 2, 3, 4, 5, 6}).devices_needing_reset == 6);
}

TEST_CASE("control: every truncation and every trailing byte is refused") {
  Bytes bytes = encode({1, BootRequest{"quiet", {"abc", true}, {{false, false, 2}}}});
  for (size_t size = 0; size < bytes.size(); ++size)
    CHECK_FALSE(decode(ByteView(bytes).first(size)));
  bytes.push_back(std::byte{0});
  CHECK_FALSE(decode(bytes));
}

TEST_CASE("control: more disks than the bound are refused before they are allocated") {
  BootRequest boot;
  boot.disks.resize(kMaxDisks + 1);
  CHECK_FALSE(decode(encode({1, boot})));
}
