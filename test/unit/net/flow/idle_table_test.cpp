#include "net/flow/idle_table.hpp"

#include <doctest/doctest.h>

using namespace microvm::net;
using std::chrono::seconds;

namespace {

FlowKey key(uint16_t port) {
  return {port, {}};
}

}  // namespace

TEST_CASE("an idle pair is over, sooner when nothing was answered") {
  IdleTable<int> table;
  const IdleTable<int>::Time start{};
  table.add(key(1), 1, start);
  table.add(key(2), 2, start);
  table.touch(key(2), true, start);
  CHECK(table.expired(start + seconds(29)).empty());
  REQUIRE(table.expired(start + seconds(30)).size() == 1);
  CHECK(table.expired(start + seconds(30))[0] == key(1));
  table.touch(key(1), false, start + seconds(20));
  CHECK(table.expired(start + seconds(49)).empty());
  table.touch(key(2), false, start + seconds(100));
  CHECK(table.expired(start + seconds(279)).size() == 1);
  CHECK(table.expired(start + seconds(280)).size() == 2);
  CHECK(table.take(key(2)) == 2);
  CHECK_FALSE(table.take(key(2)));
}

TEST_CASE("the pair that was idle longest makes room, if it was idle for long enough") {
  IdleTable<int> table;
  const IdleTable<int>::Time start{};
  CHECK_FALSE(table.oldest(start, seconds(0)));
  table.add(key(1), 1, start);
  table.add(key(2), 2, start + seconds(1));
  table.touch(key(2), true, start + seconds(1));
  CHECK(table.oldest(start + seconds(9), seconds(5)) == key(1));
  table.touch(key(1), false, start + seconds(4));
  CHECK(table.oldest(start + seconds(9), seconds(5)) == key(2));
  CHECK_FALSE(table.oldest(start + seconds(5), seconds(5)));
}
