// What a capture does when its caller gives up, and when the worker says no.
#include "host/worker/capture.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "host/saved/vm_files.hpp"
#include "unit/host/temp_dir.hpp"
#include "unit/host/worker/worker_pair.hpp"

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;

namespace {

struct Fixture {
  Fixture() { REQUIRE(write_run(dir.path(), {.worker_pid = 1, .layers = {"disk-1.layer"}})); }
  Result<Captured> take(const Limits& limits) {
    return capture(dir.path(), *worker.client, {.run_on = false}, limits);
  }
  [[nodiscard]] bool has(const std::string& name) const {
    return std::filesystem::exists(dir / name);
  }
  [[nodiscard]] size_t layers() const { return read_run(dir.path())->layers.size(); }

  test::TempDir dir;
  test::WorkerPair worker;
};

}  // namespace

TEST_CASE("capture: of a caller who has given up the worker hears nothing") {
  Fixture t;
  CancelToken token;
  token.cancel();
  const auto captured = t.take(Limits({&token, {}}));
  REQUIRE_FALSE(captured);
  CHECK(captured.error().code == ErrorCode::cancelled);
  const auto heard = receive_control(t.worker.worker.get(), Limits({}, milliseconds(50)), "test");
  CHECK(heard.error().code == ErrorCode::deadline_exceeded);
  CHECK_FALSE(t.has("disk-2.layer"));
}

TEST_CASE("capture: the answer to what was asked is waited for, whoever gives up meanwhile") {
  Fixture t;
  std::thread worker([&] {
    const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
    REQUIRE(request);
    REQUIRE(request->fds.size() == 3);
    CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);  // as if it had been made a layer
    std::this_thread::sleep_for(milliseconds(200));
    t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5}});
  });
  const auto captured = t.take(Limits({}, milliseconds(50)));
  worker.join();
  REQUIRE_MESSAGE(captured, (captured ? "" : captured.error().message));
  CHECK(captured->page_bytes == 77);
  CHECK(t.layers() == 2);
}

TEST_CASE("capture: a layer that the worker did not begin is in no list and leaves no file") {
  Fixture t;
  std::thread worker([&] {
    t.worker.answer(wire::ErrorReply{static_cast<uint32_t>(ErrorCode::out_of_disk), "full"});
  });
  const auto captured = t.take(test::limits());
  worker.join();
  CHECK(captured.error().code == ErrorCode::out_of_disk);
  CHECK(t.layers() == 1);
  CHECK_FALSE(t.has("disk-2.layer"));
}
