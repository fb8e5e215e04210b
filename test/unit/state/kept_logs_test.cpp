#include "state/kept_logs.hpp"

#include <doctest/doctest.h>

#include "sys/file.hpp"

using namespace microvm;
using namespace microvm::state;

namespace {

KeptLogs some_logs() {
  KeptLogs logs{.turn = 7};
  logs.logs[0] = {.begin = 10, .end = 15, .at = kKeptLogArea - 2, .text_written_ns = 3};
  logs.logs[1] = {.begin = 1, .end = 1, .at = 0, .text_written_ns = 0};
  return logs;
}

base::Fd file_with_header(const KeptLogs& logs) {
  auto file = sys::memory_file("logs");
  REQUIRE(file);
  REQUIRE(
      sys::pwrite_full(file->get(), encode_kept_logs(logs), kept_logs_header_offset(logs.turn)));
  return std::move(*file);
}

}  // namespace

TEST_CASE("kept logs: a header survives encode and decode, and fits where it stands") {
  KeptLogs logs = some_logs();
  CHECK(*decode_kept_logs(encode_kept_logs(logs)) == logs);
  logs.logs[0].end = UINT64_MAX;
  logs.logs[0].begin = UINT64_MAX - 5;
  CHECK(*decode_kept_logs(encode_kept_logs(logs)) == logs);
  CHECK(encode_kept_logs(logs).size() <= kKeptLogsHeaderBytes);
}

TEST_CASE("kept logs: bounds are checked") {
  const auto refused = [](auto&& change) {
    KeptLogs logs = some_logs();
    change(logs.logs[0]);
    const auto read = decode_kept_logs(encode_kept_logs(logs));
    return !read && read.error().code == ErrorCode::corrupt;
  };
  CHECK(refused([](KeptLog& log) { log.end = 9; }));
  CHECK(refused([](KeptLog& log) { log.end = log.begin + wire::kMaxLogBytes + 1; }));
  CHECK(refused([](KeptLog& log) { log.at = kKeptLogArea; }));
  CHECK_FALSE(refused([](KeptLog& log) { log.end = log.begin + wire::kMaxLogBytes; }));
}

TEST_CASE("kept logs: the header of the higher turn counts, a damaged one does not") {
  auto logs = some_logs();
  const auto file = file_with_header(logs);
  logs.turn = 8;
  logs.logs[1].end = 2;
  REQUIRE(sys::pwrite_full(file.get(), encode_kept_logs(logs), kept_logs_header_offset(8)));
  CHECK((*read_kept_logs(file.get()))->turn == 8);
  REQUIRE(sys::pwrite_full(file.get(), wire::as_bytes("x"), kept_logs_header_offset(8) + 30));
  CHECK(**read_kept_logs(file.get()) == some_logs());
  REQUIRE(sys::pwrite_full(file.get(), wire::as_bytes("x"), kept_logs_header_offset(7) + 30));
  CHECK(read_kept_logs(file.get()).error().code == ErrorCode::corrupt);
}

TEST_CASE("kept logs: a file that is empty has none, one that is cut off is damaged") {
  const auto empty = sys::memory_file("logs");
  CHECK_FALSE(*read_kept_logs(empty->get()));
  const auto file = file_with_header(some_logs());
  const auto logs = read_kept_logs(file.get());
  REQUIRE(logs);
  CHECK(read_kept_log(file.get(), **logs, KeptLogIndex::kernel).error().code == ErrorCode::corrupt);
  CHECK(read_kept_log(file.get(), **logs, KeptLogIndex::app)->empty());
}

TEST_CASE("kept logs: a log goes on at the beginning of its area") {
  const auto file = file_with_header(some_logs());
  const auto pieces = kept_log_pieces(KeptLogIndex::kernel, kKeptLogArea - 2, 5);
  REQUIRE(pieces.size() == 2);
  CHECK(pieces[0].bytes == 2);
  CHECK(pieces[1].bytes == 3);
  REQUIRE(sys::pwrite_full(file.get(), wire::as_bytes("ab"), pieces[0].offset));
  REQUIRE(sys::pwrite_full(file.get(), wire::as_bytes("cde"), pieces[1].offset));
  const auto log = read_kept_log(file.get(), **read_kept_logs(file.get()), KeptLogIndex::kernel);
  REQUIRE(log);
  CHECK(wire::as_text(*log) == "abcde");
  CHECK(kept_log_pieces(KeptLogIndex::kernel, 0, kKeptLogArea).back().offset + kKeptLogArea ==
        kept_log_pieces(KeptLogIndex::app, 0, 1).front().offset);
  CHECK(kept_log_pieces(KeptLogIndex::app, 5, 0).empty());
}
