// Each byte once: what a follower makes of positions, also of wrong ones.
#include "host/vm/log_cursor.hpp"

#include <doctest/doctest.h>

#include "wire/log_size.hpp"

using microvm::host::LogCursor;
using microvm::host::LogText;
using microvm::wire::kMaxLogBytes;
using microvm::wire::LogsReply;

namespace {

LogText kept(uint64_t begin, std::string text) {
  return {.begin = begin, .text = std::move(text)};
}

LogCursor at(uint64_t position, uint64_t life = 1) {
  LogCursor cursor;
  cursor.begin_stream(LogsReply{position, 0, life});
  return cursor;
}

}  // namespace

TEST_CASE("log cursor: what is kept is passed on from where the stream was") {
  LogCursor cursor = at(3);
  CHECK(cursor.pass("de") == "de");
  CHECK(cursor.pass_rest(kept(0, "abcdefg")) == "fg");
  CHECK(cursor.pass_rest(kept(0, "abcdefg")).empty());
  CHECK(cursor.position() == 7);
  // What is not kept any more is missed.
  CHECK(cursor.pass_rest(kept(9, "jk")) == "jk");
  CHECK(cursor.position() == 11);
  // A file that was not written any more before its worker was killed.
  CHECK(cursor.pass_rest(kept(0, "abc")).empty());
  CHECK(cursor.position() == 11);
}

TEST_CASE("log cursor: a follower that has nothing yet gets all that is kept") {
  LogCursor cursor;
  CHECK_FALSE(cursor.has_begun());
  CHECK(cursor.pass_rest(kept(5, "abc")) == "abc");
  CHECK(cursor.has_begun());
  CHECK(cursor.position() == 8);
  LogCursor empty;
  CHECK(empty.pass_rest(kept(5, "")).empty());
  CHECK(empty.position() == 5);
}

TEST_CASE("log cursor: positions that can not be are no reason to fall") {
  LogCursor cursor;
  CHECK(cursor.pass_rest(kept(UINT64_MAX - 1, "abc")) == "abc");
  cursor = at(UINT64_MAX);
  CHECK(cursor.pass("abc") == "abc");
  CHECK(cursor.pass_rest(kept(0, "abc")) == "c");
  cursor = at(UINT64_MAX);
  CHECK(cursor.pass_rest(kept(UINT64_MAX - 1, "abc")) == "bc");
}

TEST_CASE("log cursor: another life that begins before what was read is read from its beginning") {
  const LogCursor cursor = at(10, 1);
  CHECK_FALSE(cursor.must_begin_at({10, 4, 1}));
  CHECK(cursor.must_begin_at({10, 4, 2}) == 4);
  CHECK_FALSE(cursor.must_begin_at({10, 10, 2}));
  CHECK_FALSE(LogCursor().must_begin_at({10, 4, 2}));
}

TEST_CASE("log cursor: after a worker without positions what it gave is skipped once") {
  LogCursor cursor;
  cursor.begin_stream({});
  CHECK(cursor.pass("old ") == "old ");
  CHECK_FALSE(cursor.has_position());
  CHECK(cursor.pass_rest(kept(0, "old rest")).empty());
  SUBCASE("the next one has none either") {
    cursor.begin_stream({});
    CHECK(cursor.pass("ol").empty());
    CHECK(cursor.pass("d new") == "new");
  }
  SUBCASE("the next one has them") {
    cursor.begin_stream(LogsReply{0, 4, 7});
    CHECK(cursor.pass("old new") == "new");
    CHECK(cursor.position() == 7);
  }
  SUBCASE("more than is ever kept") {
    cursor.pass(std::string(kMaxLogBytes * 2, 'x'));
    cursor.begin_stream({});
    CHECK(cursor.pass(std::string(kMaxLogBytes, 'x') + "new") == "new");
  }
}
