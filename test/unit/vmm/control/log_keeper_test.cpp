#include "vmm/control/log_keeper.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <string>

#include "state/crc32c.hpp"
#include "sys/file.hpp"

using namespace microvm;
using state::KeptLogIndex;
using sys::Loop;
using vmm::control::Log;
using vmm::control::LogKeeper;

namespace {

struct Life {
  explicit Life(const base::Fd& file, Loop::Backend backend = Loop::Backend::automatic)
      : loop(std::move(*Loop::create(backend))) {
    REQUIRE(keeper.load(std::move(*sys::duplicate(file.get(), "test"))));
    keeper.begin();
  }
  void print(std::string_view text) { app.append(wire::as_bytes(text)); }
  // Longer than what is appended waits to be kept.
  void pass_time() {
    const auto until = std::chrono::steady_clock::now() + 3 * LogKeeper::kDelay;
    while (std::chrono::steady_clock::now() < until) loop->run_once(std::chrono::milliseconds(5));
  }

  std::unique_ptr<Loop> loop;
  Log kernel{*loop};
  Log app{*loop};
  LogKeeper keeper{*loop, kernel, app};
};

base::Fd logs_file() {
  return std::move(*sys::memory_file("logs"));
}

std::string kept(const base::Fd& file, KeptLogIndex index = KeptLogIndex::app) {
  const auto logs = state::read_kept_logs(file.get());
  REQUIRE_MESSAGE(logs, logs.error().message);
  REQUIRE(*logs);
  const auto bytes = state::read_kept_log(file.get(), **logs, index);
  REQUIRE(bytes);
  return std::string(wire::as_text(*bytes));
}

std::string numbers(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i) text += std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("log keeper: what was printed is in the file a moment later, without an end") {
  for (const auto backend : {Loop::Backend::automatic, Loop::Backend::plain}) {
    const auto file = logs_file();
    Life life(file, backend);
    life.pass_time();
    CHECK(kept(file).empty());  // that is known
    life.print("one ");
    life.kernel.append(wire::as_bytes("kernel"));
    life.pass_time();
    CHECK(kept(file) == "one ");
    CHECK(kept(file, KeptLogIndex::kernel) == "kernel");
    life.print("two");
    life.pass_time();
    CHECK(kept(file) == "one two");
  }
}

TEST_CASE("log keeper: the next life goes on, with the same positions") {
  const auto file = logs_file();
  uint64_t end = 0;
  {
    Life life(file);
    life.print("first ");
    life.pass_time();
    end = life.app.ring().end();
  }  // killed
  Life next(file);
  CHECK(wire::as_text(next.app.ring().contents()) == "first ");
  CHECK(next.app.life_begin() == end);
  next.print("second");
  next.keeper.finish({-1, -1});
  CHECK(kept(file) == "first second");
  CHECK((*state::read_kept_logs(file.get()))->logs[1].end == end + 6);
}

TEST_CASE("log keeper: the last 256 KiB are kept, whatever the pieces, in a file of bounded size") {
  const std::string all = numbers(0, 300'000);
  for (const size_t piece : {size_t{70'001}, size_t{200'000}, size_t{600'000}}) {
    INFO(piece);
    const auto file = logs_file();
    Life life(file);
    for (size_t at = 0; at < all.size(); at += piece) {
      life.print(std::string_view(all).substr(at, piece));
      life.keeper.finish({-1, -1});
      const size_t end = std::min(all.size(), at + piece);
      const size_t begin = end - std::min(end, wire::kMaxLogBytes);
      REQUIRE(kept(file) == std::string_view(all).substr(begin, end - begin));
    }
    CHECK(*sys::file_size(file.get()) <= 4096 + 2 * state::kKeptLogArea);
  }
}

// A worker is killed between any two of its writes.
TEST_CASE("log keeper: until the header is written the file says what it said") {
  const std::string all = numbers(0, 200'000);
  for (const size_t first : {size_t{1000}, size_t{300'000}}) {
    for (const size_t second : {size_t{2000}, size_t{250'000}, size_t{700'000}}) {
      INFO(first << " and " << second);
      const auto file = logs_file();
      Life life(file);
      life.print(std::string_view(all).substr(0, first));
      life.keeper.finish({-1, -1});
      const std::string before = kept(file);
      wire::Bytes old(2 * state::kKeptLogsHeaderBytes);
      REQUIRE(sys::pread_full(file.get(), old, 0));
      life.print(std::string_view(all).substr(first, second));
      life.keeper.finish({-1, -1});
      CHECK(kept(file) != before);
      REQUIRE(sys::pwrite_full(file.get(), old, 0));
      CHECK(kept(file) == before);
    }
  }
}

TEST_CASE("log keeper: a file that takes nothing stays as it was, and goes on when it does") {
  const auto file = logs_file();
  Life life(file);
  life.print("before ");
  life.pass_time();
  rlimit none{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &none) == 0);
  const rlimit all = none;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  none.rlim_cur = 0;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &none) == 0);
  life.print("meanwhile ");
  life.pass_time();
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &all) == 0);
  ::signal(SIGXFSZ, handler);
  CHECK(kept(file) == "before ");
  life.print("after");
  life.pass_time();
  CHECK(kept(file) == "before meanwhile after");
}

TEST_CASE("log keeper: a damaged file is begun anew, one of a newer version is left alone") {
  const auto file = logs_file();
  REQUIRE(sys::pwrite_full(file.get(), wire::as_bytes("no header"), 0));
  Life life(file);
  life.print("all the same");
  life.pass_time();
  CHECK(kept(file) == "all the same");

  const auto newer = logs_file();
  wire::Bytes header = state::encode_kept_logs({});
  header[8] = std::byte{2};
  const uint32_t sum = state::crc32c(wire::ByteView(header).first(header.size() - 4));
  std::memcpy(header.data() + header.size() - 4, &sum, sizeof sum);
  REQUIRE(sys::pwrite_full(newer.get(), header, 0));
  const auto loop = std::move(*Loop::create());
  Log kernel(*loop);
  Log app(*loop);
  LogKeeper keeper(*loop, kernel, app);
  CHECK_FALSE(keeper.load(std::move(*sys::duplicate(newer.get(), "test"))));
  app.append(wire::as_bytes("x"));
  keeper.begin();
  keeper.finish({-1, -1});
  CHECK(*sys::file_size(newer.get()) == header.size());
}

TEST_CASE("log keeper: a guest that prints without end costs a write in each while, not for each") {
  const auto file = logs_file();
  Life life(file);
  life.pass_time();
  const uint64_t before = (*state::read_kept_logs(file.get()))->turn;
  const auto until = std::chrono::steady_clock::now() + 5 * LogKeeper::kDelay;
  while (std::chrono::steady_clock::now() < until) {
    for (int i = 0; i < 100; ++i) life.print("x");
    life.loop->run_once(std::chrono::milliseconds(0));
  }
  CHECK((*state::read_kept_logs(file.get()))->turn - before <= 6);
}
