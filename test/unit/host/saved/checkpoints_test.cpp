#include "host/saved/checkpoints.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "host/store/files.hpp"
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

TEST_CASE("checkpoints: of two processes that take one name at once, one gets it") {
  const test::TempDir dir;
  const auto store = Store::open(dir.path());
  REQUIRE(store);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const base::Fd go(ends[0]);
  base::Fd hold(ends[1]);
  std::vector<pid_t> children;
  for (int i = 0; i < 2; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    // 0: it has the name, 1: the other one has, 2: neither.
    char byte = 0;
    hold.reset();
    [[maybe_unused]] const auto begun = ::read(go.get(), &byte, 1);
    auto entry = store->new_entry();
    CheckpointInfo info;
    info.name = "same";
    info.vm_id = "0123456789ab";
    info.image = "app:1";
    info.created = rfc3339_now();
    if (!entry) ::_exit(2);
    const auto done = commit_checkpoint(*store, std::move(*entry), info, kSaved);
    ::_exit(done ? 0 : done.error().code == ErrorCode::already_exists ? 1 : 2);
  }
  hold.reset();
  std::multiset<int> codes;
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    codes.insert(WEXITSTATUS(status));
  }
  CHECK(codes == std::multiset<int>{0, 1});
  CHECK(list_checkpoints(*store)->items.size() == 1);
}

TEST_CASE("checkpoints: a name that only a newer library can read is taken all the same") {
  const test::TempDir dir;
  const auto store = Store::open(dir.path());
  REQUIRE(store);
  put_checkpoint(*store, "aa1111111111", "theirs");
  const auto record = store->checkpoint_dir("aa1111111111") / "checkpoint.json";
  auto text = *read_text_file(record, 4096);
  const size_t at = text.find("\"schema\": 1");
  REQUIRE(at != std::string::npos);
  std::ofstream(record, std::ios::trunc) << text.replace(at, 11, "\"schema\": 99");
  CHECK(list_checkpoints(*store)->items.empty());
  CHECK(check_checkpoint_name_free(*store, "theirs").error().code == ErrorCode::already_exists);
  CHECK(check_checkpoint_name_free(*store, "ours"));
  CHECK(check_checkpoint_name_free(*store, ""));
  auto entry = store->new_entry();
  REQUIRE(entry);
  CheckpointInfo info;
  info.name = "theirs";
  const auto kept = commit_checkpoint(*store, std::move(*entry), info, kSaved);
  REQUIRE_FALSE(kept);
  CHECK(kept.error().code == ErrorCode::already_exists);
}
