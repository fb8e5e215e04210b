#include "host/saved/vm_files.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

}  // namespace

TEST_CASE("vm files: numbers are never used twice while a file has them") {
  const test::TempDir dir;
  CHECK(*next_file_number(dir.path()) == 1);
  write(dir.path() / "disk-1.layer", "x");
  write(dir.path() / "pages-7", "x");
  write(dir.path() / "pages-x", "x");
  write(dir.path() / "disk-09.layer", "x");
  CHECK(*next_file_number(dir.path()) == 8);
  keep_numbered_files(dir.path(), {"disk-1.layer"});
  CHECK(std::filesystem::exists(dir.path() / "disk-1.layer"));
  CHECK_FALSE(std::filesystem::exists(dir.path() / "pages-7"));
  CHECK(std::filesystem::exists(dir.path() / "pages-x"));
}

TEST_CASE("vm files: a run and a saved state come back") {
  const test::TempDir dir;
  write(dir.path() / "disk-1.layer", "x");
  write(dir.path() / "disk-2.layer", "x");
  const VmRun run{.worker_pid = 42,
                  .layers = {"disk-1.layer", "disk-2.layer"},
                  .pages = {"pages-1"},
                  .pages_known = false};
  REQUIRE(write_run(dir.path(), run));
  const auto again = read_run(dir.path());
  REQUIRE(again);
  CHECK(again->worker_pid == 42);
  CHECK(again->layers == run.layers);
  CHECK(again->pages == run.pages);
  CHECK_FALSE(again->pages_known);

  CHECK_FALSE(read_saved(dir.path())->has_value());
  const SavedState saved{.saved = "2026-11-24T09:00:00Z",
                         .layers = run.layers,
                         .pages = {"pages-1", "pages-3"},
                         .state = "state-3"};
  REQUIRE(write_saved(dir.path(), saved));
  const auto back = read_saved(dir.path());
  REQUIRE(back);
  CHECK((*back)->files() == saved.files());
}

TEST_CASE("vm files: a layer that no worker has begun is not part of the run") {
  const test::TempDir dir;
  write(dir.path() / "disk-1.layer", "x");
  write(dir.path() / "disk-2.layer", "");
  REQUIRE(write_run(dir.path(), {.layers = {"disk-1.layer", "disk-2.layer", "disk-3.layer"}}));
  CHECK(read_run(dir.path())->layers == std::vector<std::string>{"disk-1.layer"});
}

TEST_CASE("vm files: damaged records are corrupt, and their names lead nowhere else") {
  for (const char* text :
       {"", "{", "[]", "{\"layers\": []}",
        R"({"saved":"x","layers":["../../x"],"pages":[],"state":"state-1"})",
        R"({"saved":"x","layers":["disk-1.layer"],"pages":["disk-1.layer"],"state":"state-1"})",
        R"({"saved":"x","layers":["disk-1.layer"],"pages":[],"state":"/etc/passwd"})",
        R"({"saved":"x","layers":[],"pages":[],"state":"state-1"})"}) {
    INFO(text);
    CHECK(parse_saved(text, "saved.json").error().code == ErrorCode::corrupt);
    CHECK(parse_run(text, "run.json").error().code == ErrorCode::corrupt);
  }
}
