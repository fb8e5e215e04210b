// What a capture does when its caller gives up, and when the worker says no.
#include "host/worker/capture.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <thread>

#include "host/saved/vm_files.hpp"
#include "host/store/files.hpp"
#include "unit/host/temp_dir.hpp"
#include "unit/host/worker/worker_pair.hpp"

using namespace microvm;
using namespace microvm::host;
using std::chrono::milliseconds;

namespace {

struct Fixture {
  Fixture() {
    std::ofstream(dir / "disk-1.layer") << "layer";  // the number of the next one is above it
    REQUIRE(write_run(dir.path(), {.worker_pid = 1, .layers = {"disk-1.layer"}}));
  }
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
  CancelToken token;
  std::thread worker([&] {
    const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
    REQUIRE(request);
    REQUIRE(request->fds.size() == 3);
    CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);  // as if it had been made a layer
    token.cancel();
    t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5}});
  });
  const auto captured = t.take(Limits({&token, {}}));
  worker.join();
  REQUIRE_MESSAGE(captured, (captured ? "" : captured.error().message));
  CHECK(captured->page_bytes == 77);
  CHECK(captured->pause_us == 5);
  CHECK(captured->layers == std::vector<std::string>{"disk-1.layer"});
  CHECK(t.layers() == 2);
}

TEST_CASE("capture: one that stays paused may be written later, by a request of its own") {
  Fixture t;
  Captured captured;
  {
    std::thread worker([&] {
      const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
      REQUIRE(request);
      const auto* asked = std::get_if<wire::CaptureRequest>(&request->envelope.message);
      REQUIRE(asked != nullptr);
      CHECK(asked->write_later);
      CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);
      t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5, 1 << 20, true}});
    });
    auto taken = t.take(test::limits());
    worker.join();
    REQUIRE(taken);
    captured = std::move(*taken);
  }
  CHECK(captured.unwritten);
  const auto write = [&](const wire::Message& answer) {
    std::thread worker([&] { t.worker.answer(answer); });
    const auto written = write_captured(captured, *t.worker.client, test::limits());
    worker.join();
    return written ? ErrorCode{} : written.error().code;
  };
  CHECK(write(wire::ErrorReply{static_cast<uint32_t>(ErrorCode::out_of_disk), "full"}) ==
        ErrorCode::out_of_disk);
  CHECK(captured.unwritten);
  CHECK(write(wire::OkReply{}) == ErrorCode::protocol);
  CHECK(write(wire::CaptureReply{66, 5, 1 << 20, false}) == ErrorCode{});
  CHECK_FALSE(captured.unwritten);
  CHECK(captured.page_bytes == 66);
  CHECK(write_captured(captured, *t.worker.client, test::limits()));  // nothing is asked
}

TEST_CASE("capture: a layer that the worker has emptied since is no part of what was taken") {
  Fixture t;
  std::ofstream(t.dir / "disk-2.layer") << "begun by somebody who died";
  REQUIRE(write_run(t.dir.path(), {.worker_pid = 1, .layers = {"disk-1.layer", "disk-2.layer"}}));
  std::thread worker([&] {
    const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
    REQUIRE(request);
    REQUIRE(::truncate((t.dir / "disk-2.layer").c_str(), 0) == 0);
    CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);
    t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5}});
  });
  const auto captured = t.take(test::limits());
  worker.join();
  REQUIRE(captured);
  CHECK(captured->layers == std::vector<std::string>{"disk-1.layer"});
  CHECK(read_run(t.dir.path())->layers == std::vector<std::string>{"disk-1.layer", "disk-3.layer"});
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

// Its own deadline, 90 seconds, looks the same to it.
TEST_CASE("capture: a layer that a late worker may yet begin stays") {
  Fixture t;
  std::thread worker([&] {
    t.worker.answer(
        wire::ErrorReply{static_cast<uint32_t>(ErrorCode::deadline_exceeded), "not in time"});
  });
  const auto captured = t.take(test::limits());
  worker.join();
  CHECK(captured.error().code == ErrorCode::deadline_exceeded);
  CHECK(t.has("disk-2.layer"));
  CHECK(t.layers() == 1);
  REQUIRE(::truncate((t.dir / "disk-2.layer").c_str(), 4096) == 0);  // now it does
  CHECK(t.layers() == 2);
}

TEST_CASE("capture: a layer that the worker began stays, whatever it says of the rest") {
  Fixture t;
  std::thread worker([&] {
    const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
    REQUIRE(request);
    CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);
    t.worker.send({request->envelope.request_id,
                   wire::ErrorReply{static_cast<uint32_t>(ErrorCode::io), "lost a page"}});
  });
  CHECK(t.take(test::limits()).error().code == ErrorCode::io);
  worker.join();
  CHECK(t.layers() == 2);
}

TEST_CASE("capture: a layer is in the record before the worker may begin it") {
  Fixture t;
  std::thread worker([&] {
    const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
    REQUIRE(request);
    const auto text = read_text_file(t.dir / kRunFile, 4096);
    REQUIRE(text);
    CHECK(text->find("disk-2.layer") != std::string::npos);
    CHECK(t.layers() == 1);  // nobody has begun it
    CHECK(::ftruncate(request->fds[2].get(), 4096) == 0);
    CHECK(t.layers() == 2);
    t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5}});
  });
  CHECK(t.take(test::limits()));
  worker.join();
}

TEST_CASE("capture: only what was written is taken when all that was before is known") {
  using Names = std::vector<std::string>;
  struct Case {
    const char* what;
    VmRun run;
    bool all_pages_wanted;
    bool all_pages;
    Names before;
  };
  const Names many(8, "pages-1");
  const Names fewer(7, "pages-1");
  for (const Case& each : std::vector<Case>{
           {"known", {.layers = {"disk-1.layer"}, .pages = {"pages-1"}}, false, false, {"pages-1"}},
           {"none", {.layers = {"disk-1.layer"}}, false, false, {}},
           {"not known",
            {.layers = {"disk-1.layer"}, .pages = {"pages-1"}, .pages_known = false},
            false,
            true,
            {}},
           {"asked for", {.layers = {"disk-1.layer"}, .pages = {"pages-1"}}, true, true, {}},
           {"many", {.layers = {"disk-1.layer"}, .pages = many}, false, true, {}},
           {"not quite many", {.layers = {"disk-1.layer"}, .pages = fewer}, false, false, fewer},
       }) {
    INFO(std::string(each.what));
    Fixture t;
    REQUIRE(write_run(t.dir.path(), each.run));
    std::thread worker([&] {
      const auto request = receive_control(t.worker.worker.get(), test::limits(), "test");
      REQUIRE(request);
      const auto* asked = std::get_if<wire::CaptureRequest>(&request->envelope.message);
      REQUIRE(asked != nullptr);
      CHECK(asked->all_pages == each.all_pages);
      CHECK_FALSE(asked->run_on);
      t.worker.send({request->envelope.request_id, wire::CaptureReply{77, 5}});
    });
    const auto captured =
        capture(t.dir.path(), *t.worker.client,
                {.run_on = false, .all_pages = each.all_pages_wanted}, test::limits());
    worker.join();
    REQUIRE(captured);
    CHECK(captured->pages_before == each.before);
  }
}
