#include "host/worker/launch.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <future>

#include "host/session/agent_messages.hpp"
#include "host/session/frame_stream.hpp"
#include "host/worker/control_channel.hpp"
#include "sys/file.hpp"
#include "sys/socket.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;
using wire::FrameType;

namespace {

Limits launch_limits() {
  return Limits({}, 5s);
}

sys::Process idle_process() {
  const auto sleep = sys::open_at(AT_FDCWD, "/bin/sleep", O_RDONLY);
  REQUIRE(sleep);
  auto process = sys::spawn(sleep->get(), {.arguments = {"sleep", "60"}});
  REQUIRE(process);
  return std::move(*process);
}

// A launch, and the worker's end and the guest's, which the test plays.
struct Launching {
  explicit Launching(Limits within = launch_limits(),
                     ControlClient::Ahead ahead = ControlClient::Ahead::none,
                     std::shared_ptr<StartTrace> trace = nullptr)
      : clock(std::move(trace)) {
    auto sockets = sys::seqpacket_pair();
    REQUIRE(sockets);
    REQUIRE(sys::set_nonblocking(sockets->first.get()));
    REQUIRE(sys::set_nonblocking(sockets->second.get()));
    control = std::move(sockets->first);
    worker.emplace(idle_process(), std::move(sockets->second));
    launched = std::async(std::launch::async, [this, within, ahead] {
      return launch_guest(*worker, wire::RestoreRequest{}, {}, *make_identity("web"), within, clock,
                          times, ahead);
    });
    const auto request = receive_control(control.get(), launch_limits(), "test");
    REQUIRE(request);
    say({request->envelope.request_id, wire::OkReply{}}, {});
  }
  ~Launching() {
    control.reset();
    if (launched.valid()) launched.wait();
  }
  void say(const wire::Envelope& envelope, std::vector<int> fds) {
    REQUIRE(send_control(control.get(), envelope, fds, launch_limits(), "test"));
  }
  // The guest's end of a doorbell that rings and, with `hello`, says so.
  base::Fd ring() {
    auto pair = sys::stream_pair();
    REQUIRE(pair);
    say({0, wire::AgentEvent{}}, {pair->second.get()});
    FrameWriter writer;
    const auto hello = encode_message(microvm_agent_Hello{});
    REQUIRE(writer.write(pair->first.get(), FrameType::hello, hello, launch_limits(), "test"));
    return std::move(pair->first);
  }
  void say_ready(const base::Fd& guest) {
    FrameWriter writer;
    const auto ready = encode_message(microvm_agent_Ready{});
    REQUIRE(writer.write(guest.get(), FrameType::ready, ready, launch_limits(), "test"));
  }
  std::string take_seed(const base::Fd& guest) {
    FrameReader reader;
    const auto frame = reader.read(guest.get(), launch_limits(), "test");
    REQUIRE((frame && *frame));
    const auto identity = decode_message<microvm_agent_Identity>((*frame)->body);
    REQUIRE(identity);
    return {reinterpret_cast<const char*>(identity->seed.bytes), identity->seed.size};
  }

  base::Fd control;
  std::optional<Worker> worker;
  Stopwatch clock;
  LaunchTimes times;
  std::future<Result<HeldDoorbell>> launched;
};

}  // namespace

TEST_CASE("launch: an agent that hangs up and rings again is waited for") {
  Launching t;
  base::Fd first = t.ring();
  const std::string seed = t.take_seed(first);
  first.reset();
  const base::Fd second = t.ring();
  CHECK(t.take_seed(second) != seed);
  t.say_ready(second);
  CHECK(t.launched.get());
}

TEST_CASE("launch: what a trace asks of the worker leaves nothing behind, whatever comes between") {
  const auto file = sys::memory_file("trace");
  REQUIRE(file);
  auto copy = sys::duplicate(file->get(), "trace");
  REQUIRE(copy);
  const auto trace =
      std::make_shared<StartTrace>(std::make_shared<TraceFile>(std::move(*copy)), "start");
  Launching t(launch_limits(), ControlClient::Ahead::none, trace);
  const base::Fd guest = t.ring();
  t.take_seed(guest);
  t.say_ready(guest);
  const auto asked = receive_control(t.control.get(), launch_limits(), "test");
  REQUIRE(asked);
  CHECK(std::holds_alternative<wire::InfoRequest>(asked->envelope.message));
  t.say({0, wire::AgentEvent{}}, {guest.get()});
  wire::InfoReply info;
  info.steps = {.received_at_ns = 1, .entered = 2};
  t.say({asked->envelope.request_id, info}, {});
  REQUIRE(t.launched.get());
  const auto left = receive_control(t.worker->control(), Limits({}, 20ms), "test");
  CHECK(left.error().code == ErrorCode::deadline_exceeded);
  trace->write_out();
  const auto written =
      sys::read_file(AT_FDCWD, "/proc/self/fd/" + std::to_string(file->get()), 64 * 1024);
  REQUIRE(written);
  CHECK(wire::as_text(*written).find("worker: KVM_RUN") != std::string_view::npos);
}

TEST_CASE("launch: what is needed next is asked for once the agent knows who it is") {
  Launching t(launch_limits(), ControlClient::Ahead::asked);
  base::Fd first = t.ring();
  t.take_seed(first);
  const auto asked = receive_control(t.control.get(), launch_limits(), "test");
  REQUIRE(asked);
  CHECK(asked->envelope.request_id == kAheadId);
  const auto* connect = std::get_if<wire::ConnectRequest>(&asked->envelope.message);
  REQUIRE(connect != nullptr);
  CHECK(connect->port == wire::kAgentOperationPort);
  first.reset();
  const base::Fd guest = t.ring();
  t.take_seed(guest);  // not asked again
  t.say({kAheadId, wire::OkReply{}}, {guest.get()});
  FrameWriter writer;
  const auto ready = encode_message(microvm_agent_Ready{});
  REQUIRE(writer.write(guest.get(), FrameType::ready, ready, launch_limits(), "test"));
  CHECK(t.launched.get());
  CHECK(is_quiet(t.control.get()));
  CHECK_FALSE(is_quiet(t.worker->control()));  // left to the client
}

TEST_CASE("launch: an agent that hung up is not asked in vain") {
  Launching t(launch_limits(), ControlClient::Ahead::asked);
  const auto take_asked = [&] {
    const auto asked = receive_control(t.control.get(), launch_limits(), "test");
    REQUIRE(asked);
    CHECK(asked->envelope.request_id == kAheadId);
  };
  base::Fd first = t.ring();
  t.take_seed(first);
  take_asked();
  wire::Message answer = wire::OkReply{};
  std::vector<int> stream = {t.worker->control()};  // any; one of the doorbell would keep it open
  SUBCASE("answered") {}
  SUBCASE("refused") {
    answer = wire::ErrorReply{static_cast<uint32_t>(ErrorCode::busy), "full"};
    stream.clear();
  }
  t.say({kAheadId, answer}, stream);
  first.reset();
  const base::Fd second = t.ring();
  take_asked();
  FrameWriter writer;
  const auto ready = encode_message(microvm_agent_Ready{});
  REQUIRE(writer.write(second.get(), FrameType::ready, ready, launch_limits(), "test"));
  CHECK(t.launched.get());
}

TEST_CASE("launch: one that hangs up and does not is the end of the time, or of the guest") {
  SUBCASE("time") {
    Launching t(Limits({}, 100ms));
    t.ring().reset();
    const auto launched = t.launched.get();
    CHECK(launched.error().code == ErrorCode::guest_failed);
  }
  SUBCASE("guest") {
    Launching t;
    t.ring().reset();
    t.say({0, wire::ExitEvent{}}, {});
    CHECK(t.launched.get().error().code == ErrorCode::guest_failed);
  }
}
