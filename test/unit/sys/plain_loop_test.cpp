// The loop without io_uring, on a slow disk.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "sys/loop.hpp"
#include "sys/socket.hpp"
#include "unit/file_calls.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace std::chrono_literals;
using base::Fd;
using sys::Loop;

namespace {

std::unique_ptr<Loop> make_plain() {
  auto loop = Loop::create(Loop::Backend::plain);
  REQUIRE(loop);
  return std::move(*loop);
}

template <class Done>
bool run_until(Loop& loop, Done done) {
  const auto end = std::chrono::steady_clock::now() + 5s;
  while (!done() && std::chrono::steady_clock::now() < end) loop.run_once(100ms);
  return done();
}

// The syncs of files below a directory wait until they are let go, or for five seconds.
class SlowDisk {
 public:
  explicit SlowDisk(const std::filesystem::path& directory) : calls_(directory) {
    calls_.before_each([this](const test::FileCall& call) {
      if (call.what == "sync") let_go_.wait_for(5s);
    });
  }
  void let_go() { let_go_.set(); }

 private:
  class Gate {
   public:
    void set() {
      const std::lock_guard lock(mutex_);
      open_ = true;
      changed_.notify_all();
    }
    void wait_for(std::chrono::seconds limit) {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, limit, [this] { return open_; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
  };
  Gate let_go_;
  test::FileCalls calls_;
};

Fd file_in(const test::TempDir& dir) {
  return Fd(::open((dir / "disk").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

}  // namespace

TEST_CASE("loop: without io_uring a slow disk holds up nothing but its own operation") {
  const test::TempDir dir;
  const Fd file = file_in(dir);
  const auto loop = make_plain();
  SlowDisk disk(dir.path());
  auto pair = sys::stream_pair();
  REQUIRE(pair);
  char byte = 'k';
  const iovec one{&byte, 1};
  bool synced = false, fired = false, wrote = false, read = false, seen = false;
  loop->sync_file(file.get(), [&](int64_t result) { synced = result == 0; });
  loop->after(5ms, [&] { fired = true; });
  loop->watch(pair->first.get(), POLLIN, [&](uint32_t) {
    char taken = 0;
    seen = ::read(pair->first.get(), &taken, 1) == 1;
  });
  REQUIRE(::write(pair->second.get(), "x", 1) == 1);
  loop->write_file(file.get(), std::span(&one, 1), 0, [&](int64_t result) {
    wrote = result == 1;
    loop->read_file(file.get(), std::span(&one, 1), 0, [&](int64_t got) { read = got == 1; });
  });
  CHECK(run_until(*loop, [&] { return fired && seen && read; }));
  CHECK(wrote);
  CHECK_FALSE(synced);
  CHECK(loop->io_in_flight() == 1);
  disk.let_go();
  CHECK(run_until(*loop, [&] { return synced; }));
  CHECK(loop->io_in_flight() == 0);
}

TEST_CASE("loop: without io_uring more slow operations than threads all come to their end") {
  const test::TempDir dir;
  const Fd file = file_in(dir);
  const auto loop = make_plain();
  SlowDisk disk(dir.path());
  int synced = 0;
  for (int i = 0; i < 10; ++i) {
    loop->sync_file(file.get(), [&](int64_t result) { synced += result == 0 ? 1 : 0; });
  }
  loop->run_once(20ms);
  CHECK(synced == 0);
  CHECK(loop->io_in_flight() == 10);
  disk.let_go();
  CHECK(run_until(*loop, [&] { return synced == 10; }));
}

TEST_CASE("loop: without io_uring its end waits for what has begun and drops the rest") {
  const test::TempDir dir;
  const Fd file = file_in(dir);
  auto loop = make_plain();
  SlowDisk disk(dir.path());
  bool called = false;
  for (int i = 0; i < 10; ++i) loop->sync_file(file.get(), [&](int64_t) { called = true; });
  loop->run_once(20ms);
  std::atomic<bool> gone = false;
  std::thread ending([&] {
    loop.reset();
    gone = true;
  });
  std::this_thread::sleep_for(50ms);
  CHECK_FALSE(gone);
  disk.let_go();
  ending.join();
  CHECK_FALSE(called);
}
