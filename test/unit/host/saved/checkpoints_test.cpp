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
