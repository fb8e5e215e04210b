#include "sys/loop.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>

#include "base/fd.hpp"
#include "sys/loop_cases.hpp"
#include "unit/asleep.hpp"

using microvm::base::Fd;
using microvm::sys::Loop;
using namespace microvm::test;
using namespace std::chrono_literals;

namespace {

std::array<Fd, 2> socket_pair() {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

void send_byte(const Fd& fd) {
  REQUIRE(::write(fd.get(), "x", 1) == 1);
}

void take_byte(const Fd& fd) {
  char byte = 0;
  REQUIRE(::read(fd.get(), &byte, 1) == 1);
}

Fd memory_file(size_t size) {
  Fd fd(memfd_create("loop-test", MFD_CLOEXEC));
  REQUIRE(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
  return fd;
}

}  // namespace

LOOP_TEST_CASE("an fd is reported again while it stays ready") {
  auto [ours, theirs] = socket_pair();
  int calls = 0;
  const auto id = loop.watch(ours.get(), POLLIN, [&](uint32_t events) {
    CHECK((events & POLLIN) != 0);
    if (++calls == 3) take_byte(ours);
  });
  loop.run_once(0ms);
  CHECK(calls == 0);
  send_byte(theirs);
  CHECK(run_loop_until(loop, [&] { return calls == 3; }));
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(calls == 3);
  send_byte(theirs);
  CHECK(run_loop_until(loop, [&] { return calls == 4; }));
  loop.unwatch(id);
}

LOOP_TEST_CASE("rearm changes, silences and wakes a watch") {
  auto [ours, theirs] = socket_pair();
  uint32_t seen = 0;
  const auto id = loop.watch(ours.get(), POLLIN, [&](uint32_t events) { seen |= events; });
  loop.run_once(0ms);
  loop.rearm(id, POLLOUT);
  CHECK(run_loop_until(loop, [&] { return seen == POLLOUT; }));
  loop.rearm(id, 0);
  seen = 0;
  send_byte(theirs);
  theirs.reset();  // a hang-up is not reported either
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen == 0);
  loop.rearm(id, POLLIN);
  CHECK(run_loop_until(loop, [&] { return (seen & POLLIN) != 0; }));
  CHECK((seen & POLLHUP) != 0);
}

LOOP_TEST_CASE("rearm(0) inside the handler silences it") {
  auto [ours, theirs] = socket_pair();
  int calls = 0;
  Loop::WatchId id = 0;
  id = loop.watch(ours.get(), POLLIN, [&](uint32_t) {
    ++calls;
    loop.rearm(id, 0);
  });
  send_byte(theirs);
  for (int i = 0; i < 4; ++i) loop.run_once(1ms);
  CHECK(calls == 1);
  loop.rearm(id, POLLIN);
  for (int i = 0; i < 4; ++i) loop.run_once(1ms);
  CHECK(calls == 2);
}

LOOP_TEST_CASE("a watch for a hang-up alone sleeps until there is one") {
  auto [ours, theirs] = socket_pair();
  int calls = 0;
  const auto id = loop.watch(ours.get(), POLLPRI, [&](uint32_t events) {
    CHECK(events == POLLHUP);
    ++calls;
  });
  send_byte(theirs);
  REQUIRE(::shutdown(theirs.get(), SHUT_WR) == 0);
  int rounds = 0;
  for (const auto end = std::chrono::steady_clock::now() + 50ms;
       std::chrono::steady_clock::now() < end; ++rounds) {
    loop.run_once(50ms);
  }
  CHECK(rounds < 20);
  CHECK(calls == 0);
  theirs.reset();
  CHECK(run_loop_until(loop, [&] { return calls == 3; }));  // it stays
  loop.rearm(id, 0);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(calls == 3);
}

LOOP_TEST_CASE("a half-closed peer does not hide what is wanted later") {
  auto [ours, theirs] = socket_pair();
  uint32_t seen = 0;
  const auto id = loop.watch(ours.get(), POLLPRI, [&](uint32_t events) { seen |= events; });
  REQUIRE(::shutdown(theirs.get(), SHUT_WR) == 0);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  loop.rearm(id, POLLIN);
  CHECK(run_loop_until(loop, [&] { return seen == POLLIN; }));
  loop.rearm(id, POLLPRI);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  loop.unwatch(id);
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen == POLLIN);
}

LOOP_TEST_CASE("the writing end of a pipe hears that its reader has gone") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  Fd reader(ends[0]);
  const Fd writer(ends[1]);
  uint32_t seen = 0;
  loop.watch(writer.get(), POLLPRI, [&](uint32_t events) { seen |= events; });
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  CHECK(seen == 0);
  reader.reset();
  CHECK(run_loop_until(loop, [&] { return seen == POLLERR; }));
}

LOOP_TEST_CASE("a handler may unwatch itself and others; nothing is called after that") {
  auto [a, a_peer] = socket_pair();
  auto [b, b_peer] = socket_pair();
  int calls = 0;
  Loop::WatchId a_id = 0;
  Loop::WatchId b_id = 0;
  const auto owned = std::make_shared<int>(0);
  const auto handler = [&, owned](uint32_t) {
    ++calls;
    loop.unwatch(a_id);
    loop.unwatch(b_id);
    ++*owned;  // the handler's own captures are alive to its end
  };
  a_id = loop.watch(a.get(), POLLIN, handler);
  b_id = loop.watch(b.get(), POLLIN, handler);
  send_byte(a_peer);
  send_byte(b_peer);
  for (int i = 0; i < 4; ++i) loop.run_once(1ms);
  CHECK(calls == 1);
  CHECK(*owned == 1);
}

LOOP_TEST_CASE("an fd closed after unwatch is really closed") {
  auto [ours, theirs] = socket_pair();
  const auto id = loop.watch(ours.get(), POLLIN, [](uint32_t) {});
  loop.run_once(0ms);
  loop.unwatch(id);
  ours.reset();
  loop.run_once(0ms);
  char byte = 0;
  CHECK(::read(theirs.get(), &byte, 1) == 0);
}

LOOP_TEST_CASE("a bad fd is reported once, a regular file is always ready") {
  int bad = 0;
  loop.watch(1'000'000, POLLIN, [&](uint32_t events) {
    CHECK(events == POLLNVAL);
    ++bad;
  });
  const Fd file = memory_file(1);
  int good = 0;
  const auto id =
      loop.watch(file.get(), POLLIN, [&](uint32_t events) { good += events == POLLIN; });
  for (int i = 0; i < 5; ++i) loop.run_once(1ms);
  CHECK(bad == 1);
  CHECK(good >= 2);
  loop.unwatch(id);
}

LOOP_TEST_CASE("more watches than the ring has entries") {
  std::vector<std::array<Fd, 2>> pairs;
  size_t calls = 0;
  for (int i = 0; i < 400; ++i) {
    const auto& pair = pairs.emplace_back(socket_pair());
    send_byte(pair[1]);
    loop.watch(pair[0].get(), POLLIN, [&calls, fd = pair[0].get()](uint32_t) {
      char byte = 0;
      if (::read(fd, &byte, 1) == 1) ++calls;
    });
  }
  CHECK(run_loop_until(loop, [&] { return calls == pairs.size(); }));
}

LOOP_TEST_CASE("files: scattered write, sync, read back, short count at the end") {
  const Fd file = memory_file(0);
  std::string first = "hello ";
  std::string second = "world";
  int64_t wrote = -1;
  {
    const std::array<iovec, 3> list{
        {{first.data(), first.size()}, {nullptr, 0}, {second.data(), 5}}};
    loop.write_file(file.get(), list, 3, [&](int64_t result) { wrote = result; });
  }
  CHECK(loop.io_in_flight() == 1);
  CHECK(run_loop_until(loop, [&] { return wrote == 11; }));
  CHECK(loop.io_in_flight() == 0);
  int64_t synced = -1;
  loop.sync_file(file.get(), [&](int64_t result) { synced = result; });
  CHECK(run_loop_until(loop, [&] { return synced == 0; }));
  std::array<char, 32> back{};
  int64_t got = -1;
  const iovec whole{back.data(), back.size()};
  loop.read_file(file.get(), std::span(&whole, 1), 0, [&](int64_t result) { got = result; });
  CHECK(run_loop_until(loop, [&] { return got == 14; }));
  CHECK(std::string(back.data() + 3, 11) == "hello world");
}

LOOP_TEST_CASE("files: an error is -errno, and a handler may start the next operation") {
  const Fd file = memory_file(4096);
  char byte = 0;
  const iovec one{&byte, 1};
  int64_t result = 0;
  loop.read_file(-1, std::span(&one, 1), 0, [&](int64_t) {
    loop.write_file(file.get(), std::span(&one, 1), 0, [&](int64_t second) { result = second; });
  });
  CHECK(run_loop_until(loop, [&] { return result == 1; }));
  loop.read_file(-1, std::span(&one, 1), 0, [&](int64_t failed) { result = failed; });
  CHECK(run_loop_until(loop, [&] { return result == -EBADF; }));
}

LOOP_TEST_CASE("files: more operations and more buffers than the kernel takes at once") {
  constexpr size_t kBuffers = 1500;
  const Fd file = memory_file(kBuffers);
  std::vector<char> bytes(kBuffers, 'z');
  std::vector<iovec> list;
  for (char& byte : bytes) list.push_back({&byte, 1});
  int64_t wrote = 0;
  loop.write_file(file.get(), list, 0, [&](int64_t result) { wrote = result; });
  CHECK(run_loop_until(loop, [&] { return wrote == kBuffers; }));
  size_t done = 0;
  for (const iovec& one : list) {
    loop.read_file(file.get(), std::span(&one, 1), 0, [&](int64_t result) { done += result == 1; });
  }
  CHECK(run_loop_until(loop, [&] { return done == kBuffers; }));
}

LOOP_TEST_CASE("timers fire in order, once, and not when cancelled") {
  std::string order;
  loop.after(300ms, [&] { order += 'c'; });
  loop.after(1ms, [&] { order += 'a'; });
  const auto never = loop.after(5ms, [&] { order += '!'; });
  loop.after(5ms, [&] {
    order += 'b';
    loop.after(0ms, [&] { order += '0'; });
  });
  loop.cancel(never);
  loop.cancel(never);
  CHECK(run_loop_until(loop, [&] { return order.size() == 4; }));
  CHECK(order == "ab0c");
}

LOOP_TEST_CASE("run_once returns at its limit, and at once when a timer is due") {
  const auto start = std::chrono::steady_clock::now();
  loop.run_once(20ms);
  CHECK(std::chrono::steady_clock::now() - start >= 1ms);  // a signal may cut it short
  bool fired = false;
  loop.after(1ms, [&] { fired = true; });
  for (int round = 0; round < 10 && !fired; ++round) loop.run_once(5s);  // that too
  CHECK(fired);
  CHECK(std::chrono::steady_clock::now() - start < 4s);
}

LOOP_TEST_CASE("the end of a loop does not wait for a watch that was just given up") {
  auto ends = socket_pair();
  ::shutdown(ends[1].get(), SHUT_WR);
  const auto id = loop.watch(ends[0].get(), POLLPRI, [](uint32_t) {});
  for (int i = 0; i < 3; ++i) loop.run_once(1ms);
  loop.unwatch(id);
}

LOOP_TEST_CASE("post and stop from another thread end a wait") {
  int posted = 0;
  std::thread other([&, runner = ::gettid()] {
    microvm::test::wait_until_asleep(runner);
    for (int i = 0; i < 100; ++i) loop.post([&] { ++posted; });
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  other.join();
  CHECK(posted == 100);
}

LOOP_TEST_CASE("made here, run in another thread, stopped before it begins") {
  int calls = 0;
  loop.post([&] { ++calls; });
  std::thread runner([&] { loop.run(); });
  loop.post([&] {
    ++calls;
    loop.stop();
  });
  runner.join();
  CHECK(calls == 2);
}

LOOP_TEST_CASE("a callback may drain with run_once and loses nothing") {
  auto [ours, theirs] = socket_pair();
  const Fd file = memory_file(16);
  char byte = 'k';
  const iovec one{&byte, 1};
  bool wrote = false;
  int calls = 0;
  int depth = 0;
  loop.watch(ours.get(), POLLIN, [&](uint32_t) {
    CHECK(++depth == 1);  // a handler is never entered twice
    ++calls;
    loop.write_file(file.get(), std::span(&one, 1), 0, [&](int64_t) { wrote = true; });
    while (loop.io_in_flight() > 0) loop.run_once(10ms);
    CHECK(wrote);
    take_byte(ours);
    --depth;
  });
  int posted = 0;
  for (int i = 0; i < 3; ++i) loop.post([&] { ++posted; });
  send_byte(theirs);
  send_byte(theirs);
  CHECK(run_loop_until(loop, [&] { return calls == 2; }));
  CHECK(posted == 3);
}

TEST_CASE("loop: destruction waits for file I/O and calls nobody") {
  for (const auto backend : {Loop::Backend::io_uring, Loop::Backend::plain}) {
    auto loop = make_loop(backend);
    if (!loop) continue;
    const Fd file = memory_file(1u << 20);
    std::vector<char> bytes(1u << 20, 'd');
    auto [ours, theirs] = socket_pair();
    bool called = false;
    const iovec whole{bytes.data(), bytes.size()};
    loop->watch(ours.get(), POLLIN, [&](uint32_t) { called = true; });
    loop->run_once(0ms);
    loop->post([&] {
      for (int i = 0; i < 8; ++i) {
        loop->write_file(file.get(), std::span(&whole, 1), 0, [&](int64_t) { called = true; });
      }
    });
    loop.reset();
    CHECK(!called);
    ours.reset();
    char byte = 0;
    CHECK(::read(theirs.get(), &byte, 1) == 0);
  }
}

TEST_CASE("loop: automatic always gives one") {
  CHECK(Loop::create().has_value());
}
