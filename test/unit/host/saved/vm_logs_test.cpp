#include "host/saved/vm_logs.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "state/kept_logs.hpp"
#include "sys/file.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using state::KeptLogIndex;

namespace {

void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path) << text;
}

uint64_t written_ns_of(const std::filesystem::path& path) {
  struct stat info{};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(info.st_mtim.tv_nsec);
}

// As a worker does, which knows when the text file was written.
void keep(const std::filesystem::path& dir, uint64_t begin, std::string_view text,
          uint64_t text_written_ns) {
  const auto file = make_kept_logs(dir);
  REQUIRE((file && file->valid()));
  const auto before = state::read_kept_logs(file->get());
  REQUIRE(before);
  state::KeptLogs logs = before->value_or(state::KeptLogs{});
  ++logs.turn;
  logs.logs[1] = {
      .begin = begin, .end = begin + text.size(), .at = 0, .text_written_ns = text_written_ns};
  const auto place = state::kept_log_pieces(KeptLogIndex::app, 0, 1)[0].offset;
  REQUIRE(sys::pwrite_full(file->get(), wire::as_bytes(text), place));
  REQUIRE(sys::pwrite_full(file->get(), state::encode_kept_logs(logs),
                           state::kept_logs_header_offset(logs.turn)));
}

LogText app_log(const std::filesystem::path& dir) {
  const auto log = read_log(open_logs(dir), LogSource::app);
  REQUIRE_MESSAGE(log, log.error().message);
  return *log;
}

}  // namespace

TEST_CASE("kept logs of a vm: they count, with the text file beside them that they know of") {
  const test::TempDir dir;
  write_text(dir.path() / "app.log", "text");
  keep(dir.path(), 5, "kept", written_ns_of(dir.path() / "app.log"));
  CHECK(app_log(dir.path()).text == "kept");
  CHECK(app_log(dir.path()).begin == 5);
  CHECK(app_log(dir.path()).is_kept);
  CHECK(read_log(open_logs(dir.path()), LogSource::kernel)->text.empty());
}

TEST_CASE("kept logs of a vm: what an older worker has written since counts, and is taken in") {
  const test::TempDir dir;
  write_text(dir.path() / "app.log", "");
  keep(dir.path(), 0, "kept", 0);
  CHECK(app_log(dir.path()).text == "kept");
  write_text(dir.path() / "app.log", "kept, and more");
  CHECK(app_log(dir.path()).text == "kept, and more");
  CHECK_FALSE(app_log(dir.path()).is_kept);
  CHECK(app_log(dir.path()).begin == 4);
  const auto file = make_kept_logs(dir.path());
  REQUIRE((file && file->valid()));
  CHECK(app_log(dir.path()).is_kept);
  CHECK(app_log(dir.path()).text == "kept, and more");
  CHECK(app_log(dir.path()).begin == 4);
  // The worker's is the file that has the name.
  CHECK((*state::read_kept_logs(file->get()))->logs[1].end == 18);
}

TEST_CASE("kept logs of a vm: those of an older library alone are read, and taken in") {
  const test::TempDir dir;
  write_text(dir.path() / "app.log", "old");
  CHECK(app_log(dir.path()).text == "old");
  CHECK_FALSE(app_log(dir.path()).is_kept);
  CHECK(make_kept_logs(dir.path()));
  CHECK(app_log(dir.path()).text == "old");
  CHECK(app_log(dir.path()).is_kept);
}

TEST_CASE("kept logs of a vm: damage is named; the next life begins anew") {
  const test::TempDir dir;
  write_text(dir.path() / "logs", "no header");
  write_text(dir.path() / "app.log", "text");
  CHECK(read_log(open_logs(dir.path()), LogSource::app).error().code == ErrorCode::corrupt);
  const auto file = make_kept_logs(dir.path());
  REQUIRE((file && file->valid()));
  CHECK(app_log(dir.path()).text == "text");
}

TEST_CASE("kept logs of a vm: a link in their place is not followed") {
  const test::TempDir dir;
  write_text(dir.path() / "elsewhere", "");
  std::filesystem::create_symlink(dir.path() / "elsewhere", dir.path() / "logs");
  CHECK_FALSE(make_kept_logs(dir.path()));
  CHECK_FALSE(open_logs(dir.path()).kept);
}

TEST_CASE("kept logs of a vm: copies read the same when the files are gone") {
  const test::TempDir dir;
  keep(dir.path(), 0, "kept", 0);
  const auto copies = duplicate_logs(open_logs(dir.path()));
  REQUIRE(copies);
  std::filesystem::remove(dir.path() / "logs");
  CHECK(read_log(*copies, LogSource::app)->text == "kept");
}
