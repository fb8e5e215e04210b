#include "capi/handle_table.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

using namespace microvm::capi;

namespace {

// Counts how many of it are there.
struct Counted {
  explicit Counted(std::atomic<int>& count) : alive(count) { ++alive; }
  ~Counted() { --alive; }
  static void destroy(void* object) { delete static_cast<Counted*>(object); }
  std::atomic<int>& alive;
};

struct Fixture {
  std::unique_ptr<HandleTable> table = std::make_unique<HandleTable>();
  std::atomic<int> alive{0};

  Handle add(Kind kind = Kind::vm) {
    const auto slot = table->reserve();
    REQUIRE(slot);
    return table->publish(*slot, kind, new Counted(alive), &Counted::destroy);
  }
};

}  // namespace

TEST_CASE("handle table: what a handle leads to is there until the handle is closed") {
  Fixture fixture;
  const Handle handle = fixture.add();
  CHECK(fixture.table->acquire(handle, Kind::vm) != nullptr);
  fixture.table->release(handle);
  CHECK(fixture.alive == 1);
  CHECK(fixture.table->close(handle, Kind::vm));
  CHECK(fixture.alive == 0);
  CHECK(fixture.table->acquire(handle, Kind::vm) == nullptr);
  CHECK_FALSE(fixture.table->close(handle, Kind::vm));
}

TEST_CASE(
    "handle table: a handle of another kind, of an earlier object or of nothing leads nowhere") {
  Fixture fixture;
  const Handle first = fixture.add();
  CHECK(fixture.table->acquire(first, Kind::exec) == nullptr);
  CHECK_FALSE(fixture.table->close(first, Kind::exec));
  constexpr Handle kAsExec = static_cast<Handle>(Kind::exec) << 56;
  CHECK(fixture.table->acquire((first & ~(0xffull << 56)) | kAsExec, Kind::exec) == nullptr);

  CHECK(fixture.table->close(first, Kind::vm));
  const Handle second = fixture.add();
  CHECK(second != first);
  CHECK((second >> 32) == (first >> 32));  // it has taken the place
  CHECK(fixture.table->acquire(first, Kind::vm) == nullptr);
  CHECK_FALSE(fixture.table->close(first, Kind::vm));
  CHECK(fixture.alive == 1);

  constexpr Handle kNoSuchSlot = static_cast<Handle>(Kind::vm) << 56 | Handle{0xffffff} << 32 | 1;
  constexpr Handle kUnusedSlot = static_cast<Handle>(Kind::vm) << 56 | Handle{5} << 32;
  for (const Handle none :
       {Handle{0}, Handle{1}, ~Handle{0}, Handle{0x7ffd12345678}, kNoSuchSlot, kUnusedSlot}) {
    CHECK(fixture.table->acquire(none, Kind::vm) == nullptr);
    CHECK_FALSE(fixture.table->close(none, Kind::vm));
  }
  CHECK(fixture.table->close(second, Kind::vm));
}

TEST_CASE("handle table: an object outlives its handle as long as a call holds it") {
  Fixture fixture;
  const Handle handle = fixture.add();
  REQUIRE(fixture.table->acquire(handle, Kind::vm) != nullptr);
  REQUIRE(fixture.table->acquire(handle, Kind::vm) != nullptr);
  CHECK(fixture.table->close(handle, Kind::vm));
  CHECK(fixture.table->acquire(handle, Kind::vm) == nullptr);
  fixture.table->release(handle);
  CHECK(fixture.alive == 1);
  fixture.table->release(handle);
  CHECK(fixture.alive == 0);
}

TEST_CASE("handle table: a signal handler that is the last leaves the object to a later call") {
  Fixture fixture;
  const Handle handle = fixture.add(Kind::cancel);
  REQUIRE(fixture.table->acquire(handle, Kind::cancel) != nullptr);
  CHECK(fixture.table->close(handle, Kind::cancel));
  fixture.table->release_in_signal(handle);
  CHECK(fixture.alive == 1);
  const Handle other = fixture.add();
  CHECK(fixture.alive == 1);
  CHECK(fixture.table->close(other, Kind::vm));
  CHECK(fixture.alive == 0);
}

TEST_CASE(
    "handle table: it holds so many and no more, and a place that was given back is taken again") {
  Fixture fixture;
  std::set<uint32_t> slots;
  for (uint32_t i = 0; i < HandleTable::kMaxHandles; ++i) {
    const auto slot = fixture.table->reserve();
    REQUIRE(slot);
    slots.insert(*slot);
  }
  CHECK(slots.size() == HandleTable::kMaxHandles);
  CHECK_FALSE(fixture.table->reserve());
  fixture.table->give_back(12345);
  CHECK(fixture.table->reserve() == 12345u);
  CHECK_FALSE(fixture.table->reserve());
}

TEST_CASE("handle table: threads that use and close the same handles meet each object or nothing") {
  constexpr int kRounds = 2000;
  constexpr int kThreads = 4;
  Fixture fixture;
  std::atomic<Handle> shared{0};
  std::atomic<int> closed{0};
  std::atomic<bool> over{false};
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      while (!over) {
        const Handle handle = shared;
        auto* object = static_cast<Counted*>(fixture.table->acquire(handle, Kind::vm));
        if (object == nullptr) continue;
        if (&object->alive != &fixture.alive) std::abort();
        if (fixture.table->close(handle, Kind::vm)) ++closed;
        fixture.table->release(handle);
      }
    });
  }
  for (int i = 0; i < kRounds; ++i) {
    const Handle handle = fixture.add();
    shared = handle;
    while (closed <= i) std::this_thread::yield();
  }
  over = true;
  threads.clear();
  CHECK(closed == kRounds);
  CHECK(fixture.alive == 0);
}
