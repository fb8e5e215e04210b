#include "host/worker/directory_watches.hpp"

#include <doctest/doctest.h>
#include <poll.h>

#include <fstream>
#include <thread>

#include "unit/host/temp_dir.hpp"

using namespace microvm::host;
using microvm::sys::EventFd;
using microvm::test::TempDir;
using std::chrono::milliseconds;

namespace {

// Waits longer than anybody is woken for nothing only where it says so.
constexpr milliseconds kShort = DirectoryWatches::kInAnyCase / 2;

struct Watching {
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  TempDir dir;
  DirectoryWatches watches{*reactor};
};

bool is_raised(const EventFd& seen, milliseconds within) {
  pollfd fd{seen.get(), POLLIN, 0};
  return ::poll(&fd, 1, static_cast<int>(within.count())) == 1;
}

void write(const std::filesystem::path& path) {
  std::ofstream(path, std::ios::app) << "x";
}

}  // namespace

TEST_CASE("directory watches: what changes is told, by the beginning of its name") {
  Watching t;
  const auto seen = std::make_shared<EventFd>();
  const auto other = std::make_shared<EventFd>();
  const auto watch = t.watches.watch(t.dir.path(), "events", seen);
  const auto other_watch = t.watches.watch(t.dir.path(), "run", other);
  const auto is_told = [&] {
    const bool told = is_raised(*seen, kShort);
    seen->clear();
    return told;
  };
  write(t.dir / "events.jsonl");
  CHECK(is_told());
  std::filesystem::rename(t.dir / "events.jsonl", t.dir / "events.jsonl.1");
  CHECK(is_told());
  write(t.dir / "events.jsonl.1");
  CHECK(is_told());
  std::filesystem::remove(t.dir / "events.jsonl.1");
  CHECK(is_told());
}

TEST_CASE("directory watches: other names, other directories and ended ones are not told") {
  Watching t;
  const TempDir elsewhere;
  const auto seen = std::make_shared<EventFd>();
  const auto ended = std::make_shared<EventFd>();
  const auto last = std::make_shared<EventFd>();
  const auto watch = t.watches.watch(t.dir.path(), "events", seen);
  const auto elsewhere_watch = t.watches.watch(elsewhere.path(), {}, seen);
  t.watches.watch(t.dir.path(), {}, ended).reset();
  const auto last_watch = t.watches.watch(t.dir.path(), {}, last);
  write(t.dir / "other");
  REQUIRE(is_raised(*last, kShort));
  CHECK_FALSE(is_raised(*seen, milliseconds(0)));
  CHECK_FALSE(is_raised(*ended, milliseconds(0)));
}

TEST_CASE("directory watches: the end of the directory itself is told") {
  Watching t;
  const auto inner = t.dir / "inner";
  std::filesystem::create_directory(inner);
  const auto seen = std::make_shared<EventFd>();
  const auto watch = t.watches.watch(inner, "no such file", seen);
  std::filesystem::remove(inner);
  CHECK(is_raised(*seen, kShort));
}

TEST_CASE(
    "directory watches: who can not be told is woken more often, and everybody now and then") {
  Watching t;
  const auto told = std::make_shared<EventFd>();
  const auto untold = std::make_shared<EventFd>();
  const auto watch = t.watches.watch(t.dir.path(), {}, told);
  const auto blind = t.watches.watch(t.dir / "is not there", {}, untold);
  for (int i = 0; i < 3; ++i) {
    CHECK(is_raised(*untold, kShort));
    untold->clear();
  }
  CHECK(is_raised(*told, DirectoryWatches::kInAnyCase * 5));
}

TEST_CASE("directory watches: those that last as the runtime are over with it, also later ones") {
  Watching t;
  using Lasts = DirectoryWatches::Lasts;
  const auto seen = std::make_shared<EventFd>();
  const auto other = std::make_shared<EventFd>();
  const auto watch = t.watches.watch(t.dir.path(), {}, seen, Lasts::as_the_runtime);
  const auto lasting = t.watches.watch(t.dir.path(), {}, other);
  CHECK_FALSE(watch->is_over());
  t.watches.end_of_runtime();
  CHECK(watch->is_over());
  CHECK(is_raised(*seen, milliseconds(0)));
  CHECK_FALSE(lasting->is_over());
  CHECK(t.watches.watch(t.dir.path(), {}, seen, Lasts::as_the_runtime)->is_over());
  write(t.dir / "x");
  CHECK(is_raised(*other, kShort));
}

TEST_CASE("directory watches: a watch may outlive them and the reactor") {
  std::unique_ptr<DirectoryWatches::Watch> watch;
  const TempDir dir;
  {
    auto reactor = std::move(*Reactor::create());
    DirectoryWatches watches(*reactor);
    watch = watches.watch(dir.path(), {}, std::make_shared<EventFd>());
    std::this_thread::sleep_for(milliseconds(10));
  }
  write(dir / "x");
}
