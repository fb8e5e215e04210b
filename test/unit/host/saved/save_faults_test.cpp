// Every call by which a suspend writes fails once: the saved state is the old or the new one,
// whole, and nothing else is left.
#include <doctest/doctest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "host/saved/saved_pages.hpp"
#include "host/store/files.hpp"
#include "sys/file.hpp"
#include "unit/file_calls.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMemoryBytes = 4 << 20;

base::Fd pages_of(char content) {
  auto overlay = sys::memory_file("pages", kMemoryBytes);
  REQUIRE(overlay);
  const std::vector<std::byte> page(8192, std::byte(content));
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 20, kMemoryBytes - 8192}) {
    REQUIRE(sys::pwrite_full(overlay->get(), page, at));
  }
  return std::move(*overlay);
}

Captured captured_with(char content) {
  auto state = sys::memory_file("state");
  REQUIRE(state);
  const std::vector<std::byte> bytes(1000, std::byte(content));
  REQUIRE(sys::pwrite_full(state->get(), bytes, 0));
  Captured captured;
  captured.pages = pages_of(content);
  captured.state = std::move(*state);
  captured.layers = {"disk-1.layer"};
  return captured;
}

Result<void> save(const fs::path& dir, const Captured& captured) {
  const auto saved = save_captured(captured, dir, dir, nullptr, Limits(CallLimits{}));
  if (!saved) return base::fail(saved.error());
  return write_saved(dir, *saved);
}

// The letter it was saved with; memory and state agree.
char content_of(const fs::path& dir) {
  const auto saved = read_saved(dir);
  REQUIRE(saved);
  REQUIRE(saved->has_value());
  const auto overlay = expand_pages(dir, **saved, kMemoryBytes);
  REQUIRE(overlay);
  std::vector<std::byte> page(8192);
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 20, kMemoryBytes - 8192}) {
    REQUIRE(sys::pread_full(overlay->get(), page, at));
    CHECK(page.front() == page.back());
  }
  const auto state = read_file(dir / (*saved)->state, 4096);
  REQUIRE(state);
  CHECK(state->size() == 1000);
  CHECK(state->front() == page.front());
  return static_cast<char>(page.front());
}

using Calls = std::vector<std::string>;

// Of the second save into a directory.
const Calls kCallsOfSave = {"write pages-3",
                            "sync pages-3",
                            "write state-3",
                            "sync state-3",
                            "write saved.json~*",
                            "sync saved.json~*",
                            "rename saved.json~* saved.json",
                            "sync ."};

struct SavedOnce {
  SavedOnce() {
    std::ofstream(dir.path() / "disk-1.layer") << "layer";
    REQUIRE(save(dir.path(), captured_with('a')));
  }
  test::TempDir dir;
};

}  // namespace

TEST_CASE("save: each file is on the disk before the record names it, and then the record is") {
  const SavedOnce t;
  const test::FileCalls calls(t.dir.path());
  REQUIRE(save(t.dir.path(), captured_with('b')));
  CHECK(test::in_a_row(calls.list()) == test::in_a_row(kCallsOfSave));
}

TEST_CASE("save: to a checkpoint's directory nothing is less durable") {
  const test::TempDir dir;
  const fs::path vm = dir / "vm";
  const fs::path checkpoint = dir / "checkpoint";
  fs::create_directory(vm);
  fs::create_directory(checkpoint);
  std::ofstream(vm / "disk-1.layer") << "layer";
  std::ofstream(vm / "pages-1") << "pages";
  Captured captured = captured_with('a');
  captured.pages_before = {"pages-1"};
  const test::FileCalls calls(dir.path());
  const auto saved = save_captured(captured, vm, checkpoint, nullptr, Limits(CallLimits{}));
  REQUIRE(saved);
  CHECK(saved->pages == Calls{"pages-1", "pages-2"});
  CHECK(test::in_a_row(calls.list()) ==
        test::in_a_row({"link vm/disk-1.layer checkpoint/disk-1.layer",
                        "link vm/pages-1 checkpoint/pages-1", "write checkpoint/pages-2",
                        "sync checkpoint/pages-2", "write checkpoint/state-2",
                        "sync checkpoint/state-2"}));
}

TEST_CASE("save faults: each write, sync and rename of a suspend fails once") {
  size_t count = 0;
  {
    const SavedOnce t;
    const test::FileCalls calls(t.dir.path());
    REQUIRE(save(t.dir.path(), captured_with('b')));
    count = calls.count();
    CHECK(count >= kCallsOfSave.size());
  }
  for (const int error : {ENOSPC, EIO}) {
    INFO("errno ", error);
    for (size_t number = 1; number <= count; ++number) {
      INFO("call ", number);
      const SavedOnce t;
      const Captured after = captured_with('b');
      Result<void> result;
      bool in_place = false;  // the record, when the call failed
      {
        test::FileCalls calls(t.dir.path());
        calls.fail(number, error);
        result = save(t.dir.path(), after);
        CHECK(calls.count() == number);  // after a failure nothing more is done
        in_place = calls.list() == kCallsOfSave;
      }
      REQUIRE_FALSE(result);
      CHECK(result.error().code == (error == ENOSPC ? ErrorCode::out_of_disk : ErrorCode::io));
      CHECK(in_place == (number == count));  // only the last one, the sync of the directory
      CHECK(content_of(t.dir.path()) == (in_place ? 'b' : 'a'));
      const auto saved = read_saved(t.dir.path());
      keep_numbered_files(t.dir.path(), (*saved)->files());
      CHECK(content_of(t.dir.path()) == (in_place ? 'b' : 'a'));
      const auto names = list_dir(t.dir.path());
      REQUIRE(names);
      const std::string number_of_save = in_place ? "3" : "2";
      CHECK(test::in_a_row(*names) == test::in_a_row({"disk-1.layer", "pages-" + number_of_save,
                                                      "saved.json", "state-" + number_of_save}));
    }
  }
}

TEST_CASE("save faults: what was written of a save that failed is taken back") {
  const SavedOnce t;
  const auto before = list_dir(t.dir.path());
  REQUIRE(before);
  for (size_t number = 1; number <= 4; ++number) {
    test::FileCalls calls(t.dir.path());
    calls.fail(number, ENOSPC);
    REQUIRE_FALSE(save_captured(captured_with('b'), t.dir.path(), t.dir.path(), nullptr,
                                Limits(CallLimits{})));
    CHECK(list_dir(t.dir.path()).value_or(Calls{}) == *before);
  }
}
