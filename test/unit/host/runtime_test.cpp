// What the Runtime does with a data directory, without a guest.
#include "microvm/runtime.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "host/image/ext4_fixtures.hpp"
#include "host/store/entry_lock.hpp"
#include "host/store/files.hpp"
#include "unit/host/store_entries.hpp"
#include "unit/host/temp_dir.hpp"
#include "unit/without_streams.hpp"

using namespace microvm;
using namespace microvm::host;
using test::add_image;
using test::add_kernel;
using test::digest_of;

namespace {

constexpr uint64_t kDisk = 16u << 20;

struct Fixture {
  test::TempDir dir;
  Runtime runtime = *Runtime::open({.data_dir = dir / "data", .log = {}, .on_event = {}});
  Store store = *Store::open(dir / "data");

  std::filesystem::path tar() {
    return test::TarMaker(dir / "root.tar").file("a", "content").done();
  }

  // What it was built with is not known then.
  void damage_image(const std::string& name) {
    std::ofstream(store.image_dir(name, "1") / "manifest.json") << "{";
  }
};

// But for the lock that is kept there.
bool tmp_is_empty(const std::filesystem::path& tmp) {
  const auto names = list_dir(tmp);
  REQUIRE(names);
  return std::ranges::all_of(*names, [](const std::string& name) { return name == ".lock"; });
}

ErrorCode code_of(const Result<void>& result) {
  REQUIRE_FALSE(result);
  return result.error().code;
}

}  // namespace

TEST_CASE("runtime: a kernel is removed unless an image needs it, or may need it") {
  Fixture fixture;
  for (const char* name : {"k", "k-old"}) add_kernel(fixture.store, name);
  add_image(fixture.store, "app", digest_of("k"), digest_of("b"), 3);

  const auto needed = fixture.runtime.remove_kernel("k");
  CHECK(code_of(needed) == ErrorCode::busy);
  CHECK(needed.error().message.find("app:1") != std::string::npos);
  CHECK(fixture.runtime.remove_kernel(digest_of("k-old")));
  CHECK(code_of(fixture.runtime.remove_kernel("k-old")) == ErrorCode::not_found);
  CHECK(code_of(fixture.runtime.remove_kernel("")) == ErrorCode::invalid_argument);
  fixture.damage_image("app");
  CHECK(code_of(fixture.runtime.remove_kernel("k")) == ErrorCode::corrupt);
  CHECK(fixture.runtime.kernels()->size() == 1);
  std::filesystem::remove_all(fixture.store.image_dir("app", "1"));
  CHECK(fixture.runtime.remove_kernel("k"));
  CHECK(fixture.runtime.kernels()->empty());
}

TEST_CASE("runtime: a base is removed unless an image needs it, and can be imported again") {
  Fixture fixture;
  const auto base = fixture.runtime.import_base("debian:12", fixture.tar(), {.disk_bytes = kDisk});
  REQUIRE(base);
  add_image(fixture.store, "app", digest_of("k"), base->digest, 3);

  const auto needed = fixture.runtime.remove_base("debian:12");
  CHECK(code_of(needed) == ErrorCode::busy);
  CHECK(needed.error().message.find("app:1") != std::string::npos);
  REQUIRE(fixture.runtime.remove_image("app"));
  CHECK(fixture.runtime.remove_base("debian:12"));
  CHECK(fixture.runtime.bases()->empty());
  CHECK(code_of(fixture.runtime.remove_base("debian:12")) == ErrorCode::not_found);
  CHECK(fixture.runtime.import_base("debian:12", fixture.tar(), {.disk_bytes = kDisk}));
}

TEST_CASE("runtime: a base has the disk size it was imported with, within bounds") {
  Fixture fixture;
  const auto import = [&](const ImportBaseOptions& options) {
    return fixture.runtime.import_base("debian:12", fixture.tar(), options);
  };
  CHECK(import({.disk_bytes = kDisk})->size_bytes == kDisk);
  CHECK(import({})->size_bytes == kDefaultDiskBytes);
  for (const uint64_t bytes : {uint64_t{0}, kDisk - 4096, kDisk + 1, uint64_t{5} << 40}) {
    CAPTURE(bytes);
    const auto refused = import({.disk_bytes = bytes});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::invalid_argument);
  }
  CHECK(fixture.runtime.bases()->front().size_bytes == kDefaultDiskBytes);
}

TEST_CASE("runtime: it opens nothing as 0, 1 or 2, also where they are free") {
  Fixture fixture;
  const auto tar = fixture.tar();
  CHECK(test::holds_without_streams([&] {
    const CancelToken token;
    auto runtime = Runtime::open({.data_dir = fixture.dir / "other", .log = {}, .on_event = {}});
    if (!runtime || !test::low_fds_are_free()) return false;
    bool free = true;
    const auto look = [&](const Progress&) { free = free && test::low_fds_are_free(); };
    const auto base = runtime->import_base("b", tar, {.disk_bytes = kDisk, .progress = look});
    return base && free && test::low_fds_are_free();
  }));
}

// Before anything has happened; nothing has been done then.
TEST_CASE("runtime: calls that list, remove or convert obey their limits") {
  Fixture fixture;
  const auto base = fixture.runtime.import_base("debian:12", fixture.tar(), {.disk_bytes = kDisk});
  REQUIRE(base);
  add_kernel(fixture.store, "k");
  add_image(fixture.store, "app", digest_of("k"), base->digest, 4096);
  add_kernel(fixture.store, "free");
  CancelToken cancelled;
  cancelled.cancel();
  const CallLimits limits{.cancel = &cancelled};
  Runtime& runtime = fixture.runtime;
  const auto code = [](const auto& result) {
    REQUIRE_FALSE(result);
    return result.error().code;
  };
  CHECK(code(runtime.kernels(limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.bases(limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.images(limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.remove_kernel("free", limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.remove_base("debian:12", limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.remove_image("app", limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.pack_image("app", {}, limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.prune({.bases_and_kernels = true}, limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.remove_vm("nosuch", limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.remove_checkpoint("nosuch", limits)) == ErrorCode::cancelled);
  CHECK(code(runtime.warm("app", 1, limits)) == ErrorCode::cancelled);
  CHECK(runtime.kernels()->size() == 2);
  CHECK(runtime.images()->size() == 1);
  CHECK(runtime.bases()->size() == 1);
}

TEST_CASE("runtime: who waits for a name that another one holds obeys the limits") {
  Fixture fixture;
  const auto base = fixture.runtime.import_base("debian:12", fixture.tar(), {.disk_bytes = kDisk});
  REQUIRE(base);
  auto names = lock_names(fixture.store.data_dir() / "base-names");
  REQUIRE(names);
  const CallLimits limits{.cancel = nullptr, .timeout = std::chrono::milliseconds(50)};
  CHECK(code_of(fixture.runtime.remove_base("debian:12", limits)) == ErrorCode::deadline_exceeded);
  CHECK(fixture.runtime.bases()->size() == 1);
  names->reset();
  CHECK(fixture.runtime.remove_base("debian:12", limits));
}

TEST_CASE("runtime: a pack that is cut short leaves the image as it was") {
  Fixture fixture;
  add_kernel(fixture.store, "k");
  constexpr size_t kMemory = 64u << 20;
  auto entry = fixture.store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("memory", std::string(kMemory, 'm')));
  REQUIRE(entry->write_file("state", "s"));
  ImageManifest manifest;
  manifest.info.name = "app";
  manifest.info.vcpus = 1;
  manifest.kernel_digest = digest_of("k");
  manifest.base_digest = digest_of("b");
  manifest.memory = {"memory", kMemory, kMemory, {}};
  manifest.state = {"state", 1, 1, digest_of("s")};
  REQUIRE(fixture.store.commit_image(std::move(*entry), manifest));
  CancelToken token;
  const auto cancel_at_once = [&](const Progress&) { token.cancel(); };
  const auto packed = fixture.runtime.pack_image("app", {cancel_at_once}, {.cancel = &token});
  REQUIRE_FALSE(packed);
  CHECK(packed.error().code == ErrorCode::cancelled);
  CHECK(fixture.store.open_image("app")->manifest.form == ImageForm::raw);
  CHECK(std::filesystem::is_regular_file(fixture.store.image_dir("app", "1") / "memory"));
  CHECK(tmp_is_empty(fixture.store.data_dir() / "tmp"));
  const auto done = fixture.runtime.pack_image("app");
  CHECK_MESSAGE(done, done.error().message);
}
