#include "host/saved/checkpoints.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "host/store/rfc3339.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

const SavedState kSaved{.saved = "2024-05-06T07:08:09Z",
                        .layers = {"disk-1.layer"},
                        .pages = {"pages-2"},
                        .state = "state-2"};

// A checkpoint of this id, which commit_checkpoint() would choose itself.
void put_checkpoint(const Store& store, const std::string& id, const std::string& name) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  CheckpointInfo info;
  info.id = id;
  info.name = name;
  info.vm_id = "0123456789ab";
  info.image = "app:1";
  info.created = rfc3339_now();
  REQUIRE(entry->write_file("saved.json", encode_saved(kSaved)));
  REQUIRE(entry->write_file("checkpoint.json", encode_checkpoint(info)));
  REQUIRE(store.commit_checkpoint(std::move(*entry), id));
}

}  // namespace

TEST_CASE(
    "checkpoints: a name, an id or the beginning of one id finds one, and never one of several") {
  const test::TempDir dir;
  const auto store = Store::open(dir.path());
  REQUIRE(store);
  put_checkpoint(*store, "aa1111111111", "first");
  put_checkpoint(*store, "aa1122222222", "second");
  put_checkpoint(*store, "aa2222222222", "aa11");  // its name begins others' ids
  put_checkpoint(*store, "bb1111111111", "");
  struct Row {
    const char* asked;
    const char* found;  // nullptr: none
    ErrorCode code;
  };
  const Row rows[] = {
      {"aa1111111111", "aa1111111111", {}},
      {"first", "aa1111111111", {}},
      {"aa111", "aa1111111111", {}},
      {"aa112", "aa1122222222", {}},
      {"aa2", "aa2222222222", {}},
      {"aa11", "aa2222222222", {}},
      {"b", "bb1111111111", {}},
      {"aa", nullptr, ErrorCode::invalid_argument},
      {"aa1", nullptr, ErrorCode::invalid_argument},
      {"a", nullptr, ErrorCode::invalid_argument},
      {"firs", nullptr, ErrorCode::not_found},
      {"aa11111111111", nullptr, ErrorCode::not_found},
      {"c", nullptr, ErrorCode::not_found},
      {"", nullptr, ErrorCode::not_found},
  };
  for (const Row& row : rows) {
    CAPTURE(row.asked);
    const auto opened = open_checkpoint(*store, row.asked);
    REQUIRE(opened.has_value() == (row.found != nullptr));
    if (opened) CHECK(opened->info.id == row.found);
    if (!opened) CHECK(opened.error().code == row.code);
    if (opened) continue;
    const auto removed = remove_checkpoint(*store, row.asked);
    REQUIRE_FALSE(removed);
    CHECK(removed.error().code == row.code);
  }
  CHECK(list_checkpoints(*store)->items.size() == 4);
}

TEST_CASE("checkpoints: of many that take one name at once, one gets it") {
  constexpr int kRounds = 20;
  const test::TempDir dir;
  const auto store = Store::open(dir.path());
  REQUIRE(store);
  const SavedState saved{
      .saved = rfc3339_now(), .layers = {"disk-1.layer"}, .pages = {"pages-2"}, .state = "state-2"};
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> kept{0};
    std::atomic<int> refused{0};
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
          auto entry = store->new_entry();
          if (!entry) return;
          for (const std::string& name : saved.files()) std::ofstream(entry->dir() / name) << name;
          CheckpointInfo info;
          info.name = "before-" + std::to_string(round);
          info.vm_id = "0123456789ab";
          info.image = "app:1";
          info.created = rfc3339_now();
          const auto done = commit_checkpoint(*store, std::move(*entry), info, saved);
          if (done) ++kept;
          if (!done && done.error().code == ErrorCode::already_exists) ++refused;
        });
      }
    }
    CHECK(kept == 1);
    CHECK(refused == 7);
  }
  CHECK(list_checkpoints(*store)->items.size() == kRounds);
}
