#include "wire/control.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "golden/recorded_messages.hpp"

using namespace microvm;
using namespace microvm::wire;

namespace {

Bytes encoded(uint32_t id, const Message& message, uint16_t version = kControlVersion) {
  auto bytes = encode({id, message, version});
  REQUIRE(bytes);
  return std::move(*bytes);
}

// A message as it comes out of either version.
template <class T>
T round_trip(const T& message, uint16_t version = kControlVersion) {
  const auto decoded = decode(encoded(42, message, version));
  REQUIRE(decoded);
  CHECK(decoded->request_id == 42);
  CHECK(decoded->version == version);
  REQUIRE(std::holds_alternative<T>(decoded->message));
  return std::get<T>(decoded->message);
}

// What test/golden/worker-v1/messages.txt holds as bytes, recorded from a library of version 1.
const std::map<std::string, Envelope>& known_messages() {
  static const std::map<std::string, Envelope> messages = {
      {"shape", {1, ShapeRequest{{.memory_bytes = 16u << 20, .vcpus = 2, .disks = 1}}}},
      {"probe", {2, ProbeRequest{}}},
      {"boot", {3, BootRequest{"quiet", {"tiny", false}, {{true, false, 1}, {false, true, 3}}}}},
      {"shape_disk", {1, ShapeRequest{{.memory_bytes = 16u << 20, .vcpus = 1, .disks = 1}}}},
      {"boot_disk", {2, BootRequest{"quiet", {"tiny", false}, {{false, true, 2}}}}},
      {"restore_disk", {2, RestoreRequest{{"clone", true}, {{false, true, 3}}, 1, false}}},
      {"restore", {4, RestoreRequest{{"abc", true}, {{false, false, 2}}, 3, true}}},
      {"connect", {5, ConnectRequest{1025}}},
      {"snapshot", {6, SnapshotRequest{}}},
      {"pause", {7, PauseRequest{}}},
      {"resume", {8, ResumeRequest{true}}},
      {"logs", {9, LogsRequest{LogsRequest::Which::app, true}}},
      {"logs_kernel", {9, LogsRequest{LogsRequest::Which::kernel, false}}},
      {"info", {10, InfoRequest{}}},
      {"terminate", {11, TerminateRequest{true}}},
      {"capture", {12, CaptureRequest{true, false}}},
      {"merge", {13, MergeRequest{}}},
      {"working_set", {14, WorkingSetRequest{}}},
      {"ok", {64, OkReply{}}},
      {"error", {65, ErrorReply{12, "no avx2"}}},
      {"snapshot_reply", {66, SnapshotReply{1, 2, 3}}},
      {"info_reply", {67, InfoReply{1, true, 2, 3, 4, 5, 6}}},
      {"capture_reply", {68, CaptureReply{uint64_t{3} << 40, 17}}},
      {"agent_event", {0, AgentEvent{}}},
      {"exit_event", {0, ExitEvent{ExitEvent::Reason::panic, "kernel panic", {}}}},
      {"exit_suspended", {0, ExitEvent{ExitEvent::Reason::suspended, "", {}}}},
      {"disk_error_event", {0, DiskErrorEvent{9, "disk full"}}},
  };
  return messages;
}

std::vector<Bytes> all_messages() {
  std::vector<Bytes> all;
  for (const auto& [name, envelope] : known_messages()) {
    all.push_back(encoded(envelope.request_id, envelope.message, 1));
    all.push_back(encoded(envelope.request_id, envelope.message, 2));
  }
  all.push_back(encoded(70, VersionsReply{1, 2}));
  all.push_back(encoded(71, LogsReply{1, 2, 3}));
  all.push_back(encoded(0, NetworkEvent{NetworkEvent::What::ended, 9, "microvm-net went away"}));
  return all;
}

// Refused, or something that can be said again.
void check_refused_or_valid(ByteView bytes) {
  const auto decoded = decode(bytes);
  if (!decoded) {
    CHECK_FALSE(decoded.error().message.empty());
    return;
  }
  if (std::holds_alternative<UnknownMessage>(decoded->message)) return;
  const auto again = encode(*decoded);
  REQUIRE(again);
  CHECK(decode(*again));
}

// The body of version 2 with its length made right again.
Bytes with_body(const Bytes& message, ByteView body) {
  ByteWriter out;
  out.put_bytes(ByteView(message).first(8));
  out.put(static_cast<uint32_t>(body.size()));
  out.put_bytes(body);
  return out.take();
}

ByteView body_of(const Bytes& message) {
  return ByteView(message).subspan(12);
}

}  // namespace

TEST_CASE("control: requests survive encode and decode in both versions") {
  for (const uint16_t version : std::initializer_list<uint16_t>{1, 2}) {
    const Shape shape{.memory_bytes = 128u << 20, .vcpus = 2, .disks = 1};
    CHECK(round_trip(ShapeRequest{shape}, version).shape == shape);

    const auto boot = round_trip(
        BootRequest{"quiet", {"abc", false}, {{true, false, 1}, {false, true, 3}}}, version);
    CHECK(boot.cmdline == "quiet");
    CHECK(boot.attachment.vm_id == "abc");
    CHECK_FALSE(boot.attachment.dies_with_owner);
    REQUIRE(boot.disks.size() == 2);
    CHECK(boot.disks[1].layers == 3);
    CHECK(boot.disks[1].hold_when_full);

    const auto restore =
        round_trip(RestoreRequest{{"abc", true}, {{false, false, 2}}, 3, true}, version);
    CHECK(restore.disks.size() == 1);
    CHECK(restore.overlays == 3);
    CHECK(restore.working_set);

    CHECK(round_trip(ConnectRequest{1025}, version).port == 1025);
    CHECK(round_trip(LogsRequest{LogsRequest::Which::app, true}, version).follow);
    CHECK(round_trip(TerminateRequest{true}, version).suspended);
    CHECK_FALSE(round_trip(TerminateRequest{}, version).suspended);
    const auto capture = round_trip(CaptureRequest{true, false, true, true}, version);
    CHECK(capture.all_pages);
    CHECK_FALSE(capture.run_on);
    CHECK(capture.list_pages == (version > 1));
    CHECK(capture.write_later == (version > 1));
    round_trip(MergeRequest{}, version);
    CHECK(round_trip(SmpProbeRequest{8, 250}, version).vcpus == 8);
    CHECK(round_trip(SmpProbeRequest{8, 250}, version).run_ms == 250);
  }
}

TEST_CASE(
    "control: what version 2 says of logs and more survives encode and decode, and version 1 has "
    "not") {
  const auto logs = round_trip(
      LogsRequest{.which = LogsRequest::Which::app, .positions = true, .from = 1ull << 40}, 2);
  CHECK(logs.positions);
  CHECK(logs.from == 1ull << 40);
  CHECK_FALSE(round_trip(LogsRequest{.positions = true}, 1).positions);
  const auto reply = round_trip(LogsReply{7, 9, 11}, 2);
  CHECK(reply.begin == 7);
  CHECK(reply.life_begin == 9);
  CHECK(reply.life == 11);
  CHECK(encode({1, LogsReply{}, 1}).error().code == ErrorCode::unsupported);
  round_trip(WriteCaptureRequest{}, 2);
  CHECK(encode({1, WriteCaptureRequest{}, 1}).error().code == ErrorCode::unsupported);
  RestoreRequest restore;
  restore.kept_logs = true;
  CHECK(round_trip(restore, 2).kept_logs);
  CHECK_FALSE(round_trip(restore, 1).kept_logs);
}

TEST_CASE("control: replies and events survive encode and decode in both versions") {
  for (const uint16_t version : std::initializer_list<uint16_t>{1, 2}) {
    CHECK(round_trip(ErrorReply{12, "no avx2"}, version).message == "no avx2");
    const auto exit = round_trip(ExitEvent{ExitEvent::Reason::panic, "kernel panic", {}}, version);
    CHECK(exit.reason == ExitEvent::Reason::panic);
    CHECK(exit.detail == "kernel panic");
    CHECK(round_trip(DiskErrorEvent{9, "disk full"}, version).code == 9);
    CHECK(round_trip(InfoReply{1, true, 2, 3, 4, 5, 6}, version).devices_needing_reset == 6);
    const InfoReply started{1, true, 2, 3, 4, 5, 6, {7, 8, 9, 10, 11, 12, 13, 14, 15}};
    CHECK(round_trip(started, version).steps.received_at_ns == (version == 1 ? 0 : 7));
    CHECK(round_trip(started, version).steps.rang == (version == 1 ? 0 : 15));
    const auto capture = round_trip(CaptureReply{uint64_t{3} << 40, 17, 16u << 20, true}, version);
    CHECK(capture.page_bytes == uint64_t{3} << 40);
    CHECK(capture.pause_us == 17);
    CHECK(capture.listed_memory_bytes == (version > 1 ? 16u << 20 : 0));
    CHECK(capture.unwritten == (version > 1));
    const auto smp = round_trip(SmpProbeReply{1, 2, uint64_t{3} << 40, 4}, version);
    CHECK(smp.rounds == 1);
    CHECK(smp.tsc_backwards == 2);
    CHECK(smp.most_backwards_ticks == uint64_t{3} << 40);
    CHECK(smp.tsc_khz == 4);
  }
}

// Libraries and workers of version 1 accept nothing but these very bytes.
TEST_CASE("control: version 1 is said and understood as it was, byte for byte") {
  const auto recorded = test::recorded_messages();
  CHECK(recorded.size() == known_messages().size());
  for (const auto& [name, envelope] : known_messages()) {
    CAPTURE(name);
    REQUIRE(recorded.contains(name));
    const Bytes& bytes = recorded.at(name);
    CHECK(encoded(envelope.request_id, envelope.message, 1) == bytes);
    const auto decoded = decode(bytes);
    REQUIRE(decoded);
    CHECK(decoded->version == 1);
    CHECK(decoded->request_id == envelope.request_id);
    CHECK(decoded->message.index() == envelope.message.index());
  }
}

TEST_CASE("control: peaks are told in version 2 only") {
  const Shape shape{.memory_bytes = 128u << 20,
                    .peak_memory_bytes = 512u << 20,
                    .vcpus = 2,
                    .peak_vcpus = 8,
                    .disks = 1};
  CHECK(round_trip(ShapeRequest{shape}, 2).shape == shape);
  CHECK(round_trip(ShapeRequest{shape}, 1).shape.memory_limit() == 128u << 20);
}

TEST_CASE("control: a shape's transport is told in version 2 only") {
  const Shape shape{
      .memory_bytes = 128u << 20, .vcpus = 2, .disks = 1, .transport = TransportKind::pci};
  CHECK(round_trip(ShapeRequest{shape}, 2).shape == shape);
  CHECK(round_trip(ShapeRequest{shape}, 1).shape.transport == TransportKind::mmio);
  Bytes unknown = encoded(1, ShapeRequest{shape}, 2);
  unknown.back() = std::byte{2};
  CHECK_FALSE(decode(unknown));
  Bytes older = encoded(1, ShapeRequest{shape}, 2);  // of a library that knew no transports
  older.pop_back();
  older[8] = std::byte(std::to_integer<uint8_t>(older[8]) - 1);  // the length of the object
  const auto read = decode(older);
  REQUIRE(read);
  CHECK(std::get<ShapeRequest>(read->message).shape.transport == TransportKind::mmio);
}

TEST_CASE("control: what is told of the network is told in version 2 only") {
  BootRequest boot;
  boot.network = NetworkKind::user;
  CHECK(round_trip(boot, 2).network == NetworkKind::user);
  CHECK(round_trip(boot, 1).network == NetworkKind::none);
  RestoreRequest restore;
  restore.network = NetworkKind::tap;
  CHECK(round_trip(restore, 2).network == NetworkKind::tap);
  Bytes unknown = encoded(1, restore);
  unknown.back() = std::byte{3};
  CHECK_FALSE(decode(unknown));
  Bytes older = encoded(1, restore);  // of a library that knew no networks
  older.pop_back();
  older[8] = std::byte(std::to_integer<uint8_t>(older[8]) - 1);  // the length of the object
  const auto read = decode(older);
  REQUIRE(read);
  CHECK(std::get<RestoreRequest>(read->message).network == NetworkKind::none);

  const NetworkEvent event{NetworkEvent::What::failed, 9, "no tun"};
  CHECK(round_trip(event, 2).what == NetworkEvent::What::failed);
  CHECK(round_trip(event, 2).code == 9);
  CHECK(round_trip(event, 2).message == "no tun");
  CHECK(encode({0, event, 1}).error().code == ErrorCode::unsupported);

  InfoReply info;
  info.net = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  CHECK(round_trip(info, 2).net == info.net);
  CHECK(round_trip(info, 1).net == NetCounters{});
}

TEST_CASE("control: what a life used is told in version 2 only") {
  const ExitEvent exit{ExitEvent::Reason::power_off, "", {1, 2, 3}};
  CHECK(round_trip(exit, 2).usage.exits == 1);
  CHECK(round_trip(exit, 2).usage.cpu_us == 2);
  CHECK(round_trip(exit, 2).usage.lived_us == 3);
  CHECK(round_trip(exit, 1).usage.cpu_us == 0);
}

TEST_CASE("control: flags and choices beyond what they can be are refused") {
  for (const Message& message : {Message(CaptureRequest{}), Message(TerminateRequest{})}) {
    for (const uint16_t version : std::initializer_list<uint16_t>{1, 2}) {
      Bytes bytes = encoded(1, message, version);
      bytes.back() = std::byte{2};
      CHECK_FALSE(decode(bytes));
    }
  }
  const ExitEvent last{ExitEvent::Reason::suspended, "", {}};
  Bytes exit = encoded(1, last, 1);
  exit[8] = std::byte{7};
  CHECK_FALSE(decode(exit));
  exit = encoded(1, last, 2);
  exit[12] = std::byte{7};
  CHECK_FALSE(decode(exit));
}

TEST_CASE("control: every truncation and every trailing byte of a message is refused") {
  for (Bytes& bytes : all_messages()) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      CHECK_FALSE(decode(ByteView(bytes).first(size)));
    }
    bytes.push_back(std::byte{0});
    CHECK_FALSE(decode(bytes));
  }
}

TEST_CASE("control: a message with any one bit turned is refused or valid") {
  for (Bytes& bytes : all_messages()) {
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      const auto mask = static_cast<std::byte>(1u << (bit % 8));
      bytes[bit / 8] ^= mask;
      check_refused_or_valid(bytes);
      bytes[bit / 8] ^= mask;
    }
  }
}

TEST_CASE("control: what newer ones say after the fields that are known is skipped") {
  for (const auto& [name, envelope] : known_messages()) {
    CAPTURE(name);
    const Bytes known = encoded(envelope.request_id, envelope.message);
    Bytes body(body_of(known).begin(), body_of(known).end());
    body.resize(body.size() + 37, std::byte{0xff});
    const auto decoded = decode(with_body(known, body));
    REQUIRE(decoded);
    CHECK(encode(*decoded) == known);
  }
}

TEST_CASE("control: fields that older ones do not say have their defaults") {
  for (const auto& [name, envelope] : known_messages()) {
    CAPTURE(name);
    const auto decoded = decode(with_body(encoded(7, envelope.message), {}));
    REQUIRE(decoded);
    CHECK(decoded->message.index() == envelope.message.index());
  }
  const auto info = decode(with_body(encoded(7, InfoReply{}), Bytes(4, std::byte{1})));
  REQUIRE(info);
  CHECK(std::get<InfoReply>(info->message).worker_pid == 0x01010101);
  CHECK(std::get<InfoReply>(info->message).exits == 0);
  const auto capture = decode(with_body(encoded(7, CaptureRequest{false, false}), {}));
  REQUIRE(capture);
  CHECK(std::get<CaptureRequest>(capture->message).run_on);
  // Half of a field is no missing field.
  CHECK_FALSE(decode(with_body(encoded(7, InfoReply{}), Bytes(3, std::byte{1}))));
}

// A disk and an attachment of tomorrow, with a field that is not known here.
TEST_CASE("control: what stands inside a message grows as well") {
  const auto put_object = [](ByteWriter& out, const ByteWriter& object) {
    out.put(static_cast<uint32_t>(object.bytes().size()));
    out.put_bytes(object.bytes());
  };
  ByteWriter attachment;
  attachment.put_string("abc");
  attachment.put(uint8_t{0});
  attachment.put(uint64_t{99});
  ByteWriter disk;
  disk.put(uint8_t{1});
  disk.put(uint8_t{0});
  disk.put(uint16_t{3});
  disk.put_string("a name");
  ByteWriter older;  // knows no hold_when_full and no layers
  older.put(uint8_t{1});
  ByteWriter body;
  body.put_string("quiet");
  put_object(body, attachment);
  body.put(uint16_t{2});
  put_object(body, disk);
  put_object(body, older);
  const auto decoded = decode(with_body(encoded(7, BootRequest{}), body.bytes()));
  REQUIRE(decoded);
  const auto& boot = std::get<BootRequest>(decoded->message);
  CHECK(boot.attachment.vm_id == "abc");
  CHECK_FALSE(boot.attachment.dies_with_owner);
  REQUIRE(boot.disks.size() == 2);
  CHECK(boot.disks[0].layers == 3);
  CHECK(boot.disks[1].read_only);
  CHECK(boot.disks[1].layers == 0);
}

TEST_CASE("control: a version that is not known is refused by name") {
  for (const uint16_t version : std::initializer_list<uint16_t>{0, 3, 65535}) {
    Bytes bytes = encoded(7, InfoRequest{});
    bytes[0] = static_cast<std::byte>(version & 0xff);
    bytes[1] = static_cast<std::byte>(version >> 8);
    const auto refused = decode(bytes);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
    CHECK(refused.error().message == "version " + std::to_string(version) +
                                         " of the control wire, of which versions 1 to 2 are "
                                         "known here");
    const auto header = read_header(bytes);
    REQUIRE(header);
    CHECK(header->request_id == 7);
    CHECK(header->version == version);
  }
  CHECK_FALSE(read_header(Bytes(7)));
}

TEST_CASE("control: a type that is not known is told apart from damage") {
  Bytes bytes = encoded(7, CaptureRequest{});
  bytes[2] = std::byte{99};
  const auto unknown = decode(bytes);
  REQUIRE(unknown);
  CHECK(unknown->request_id == 7);
  REQUIRE(std::holds_alternative<UnknownMessage>(unknown->message));
  CHECK(std::get<UnknownMessage>(unknown->message).type == 99);
  CHECK_FALSE(encode(*unknown));
}

TEST_CASE("control: version 1 is not made to say what it has no words for") {
  const auto refused = encode({1, VersionsReply{1, 2}, 1});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message == "version 1 of the control wire has no such message");
  // Nor understood to have said it.
  Bytes bytes = encoded(1, VersionsReply{1, 2});
  bytes[0] = std::byte{1};
  const auto decoded = decode(bytes);
  REQUIRE(decoded);
  CHECK(std::holds_alternative<UnknownMessage>(decoded->message));
}

TEST_CASE("control: a greeting is what version 1 calls an info request") {
  const auto bytes = encode(greeting());
  REQUIRE(bytes);
  const auto decoded = decode(*bytes);
  REQUIRE(decoded);
  CHECK(is_greeting(*decoded));
  Bytes usual = encoded(kGreetingId, InfoRequest{}, 1);
  CHECK(usual == *bytes);
  CHECK_FALSE(is_greeting({kGreetingId, InfoRequest{}, 2}));
  CHECK_FALSE(is_greeting({1, InfoRequest{}, 1}));
  CHECK_FALSE(is_greeting({kGreetingId, PauseRequest{}, 1}));
}

TEST_CASE("control: more disks than the bound are refused before they are allocated") {
  BootRequest boot;
  boot.disks.resize(kMaxDisks + 1);
  CHECK_FALSE(decode(encoded(1, boot, 1)));
  CHECK_FALSE(decode(encoded(1, boot, 2)));
}
