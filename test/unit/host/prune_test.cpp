// Prune over fabricated data directories: what nobody needs goes, everything else stays.
#include "host/prune.hpp"

#include <doctest/doctest.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "host/saved/checkpoints.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/disk_use.hpp"
#include "host/store/files.hpp"
#include "host/store/rfc3339.hpp"
#include "state/exit_record.hpp"
#include "sys/file.hpp"
#include "unit/host/store_entries.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using test::digest_of;
using Kind = PrunedItem::Kind;

namespace {

constexpr size_t kFileBytes = 100'000;

void write(const std::filesystem::path& path, size_t bytes = kFileBytes) {
  std::ofstream(path) << std::string(bytes, 'x');
}

struct Fixture {
  test::TempDir dir;
  Store store = *Store::open(dir.path());

  // In nobody's hands, with the exit record of one that ended so.
  std::string add_vm(const std::string& image, bool owned,
                     std::optional<wire::ExitEvent::Reason> ended) {
    auto made = NewVmDirectory::create(store, {});
    REQUIRE(made);
    REQUIRE(made->make_files("disk-1.layer"));
    VmRecord record;
    record.id = made->id();
    record.image = image;
    record.created = rfc3339_now();
    record.memory_bytes = 1 << 28;
    record.vcpus = 1;
    record.dies_with_owner = owned;
    record.hostname = "host";
    REQUIRE(made->write_record(record));
    if (ended) {
      std::ofstream exit(made->path() / "exit", std::ios::binary);
      const auto bytes = state::encode_exit_record({*ended, {}, {}});
      exit.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    }
    made->keep();
    return record.id;
  }

  // Its saved state is disk-1.layer, pages-2 and state-2.
  std::string add_suspended(const std::string& image) {
    const std::string id = add_vm(image, false, wire::ExitEvent::Reason::suspended);
    const auto at = store.vm_dir(id);
    for (const char* name : {"disk-1.layer", "pages-2", "state-2"}) write(at / name);
    REQUIRE(write_saved(at, saved()));
    return id;
  }

  static SavedState saved() {
    return {.saved = rfc3339_now(),
            .layers = {"disk-1.layer"},
            .pages = {"pages-2"},
            .state = "state-2"};
  }

  std::string add_checkpoint(const std::string& image) {
    auto entry = store.new_entry();
    REQUIRE(entry);
    for (const std::string& name : saved().files()) write(entry->dir() / name);
    CheckpointInfo info;
    info.vm_id = "0123456789ab";
    info.image = image;
    info.created = rfc3339_now();
    const auto kept = commit_checkpoint(store, std::move(*entry), info, saved());
    REQUIRE(kept);
    return kept->id;
  }

  void add_kernel(const std::string& name) { test::add_kernel(store, name); }

  void add_base(const std::string& name) {
    auto entry = store.new_entry();
    REQUIRE(entry);
    REQUIRE(entry->write_file("disk.ext4", name));
    REQUIRE(store.commit_base(
        std::move(*entry),
        {{name, digest_of(name), name.size()}, 1, {"disk.ext4", name.size(), name.size(), {}}}));
  }

  // Of kernel "k" and base "b".
  void add_image(const std::string& name) {
    test::add_image(store, name, digest_of("k"), digest_of("b"), kFileBytes);
  }

  PruneReport prune(PruneOptions options = {}) {
    const auto would = host::prune(store, {true, options.images, options.bases_and_kernels},
                                   std::chrono::seconds(0));
    const auto done = host::prune(store, options, std::chrono::seconds(0));
    REQUIRE(would);
    REQUIRE(done);
    // A dry run says what happens.
    REQUIRE(would->items.size() == done->items.size());
    for (size_t i = 0; i < done->items.size(); ++i) {
      CHECK(would->items[i].name == done->items[i].name);
      CHECK(would->items[i].bytes == done->items[i].bytes);
    }
    CHECK(would->bytes == done->bytes);
    return *done;
  }

  bool has_vm(const std::string& id) const { return std::filesystem::exists(store.vm_dir(id)); }
  bool has_image(const std::string& reference) const {
    return store.open_image(reference).has_value();
  }
};

std::vector<std::string> names(const PruneReport& report, Kind kind) {
  std::vector<std::string> found;
  for (const PrunedItem& item : report.items) {
    if (item.kind == kind) found.push_back(item.name);
  }
  return found;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("prune: an empty directory has nothing to free") {
  Fixture fixture;
  const auto report = fixture.prune({.images = true, .bases_and_kernels = true});
  CHECK(report.items.empty());
  CHECK(report.bytes == 0);
}

TEST_CASE("prune: ended vms go, sleeping ones and those in somebody's hands stay") {
  Fixture fixture;
  const auto ended = fixture.add_vm("app:1", false, wire::ExitEvent::Reason::power_off);
  const auto killed = fixture.add_vm("app:1", false, std::nullopt);
  const auto orphaned = fixture.add_vm("app:1", true, std::nullopt);
  const auto asleep = fixture.add_suspended("app:1");
  const auto held = fixture.add_vm("app:1", false, wire::ExitEvent::Reason::power_off);
  const auto lock = lock_vm(fixture.store.vm_dir(held));
  REQUIRE(lock);
  const auto starting = NewVmDirectory::create(fixture.store, "starting");
  REQUIRE(starting);

  auto gone = names(fixture.prune(), Kind::vm);
  Names expected = {ended, killed, orphaned};
  std::ranges::sort(gone);
  std::ranges::sort(expected);
  CHECK(gone == expected);
  for (const auto& id : gone) CHECK_FALSE(fixture.has_vm(id));
  CHECK(fixture.has_vm(asleep));
  CHECK(fixture.has_vm(held));
  CHECK(fixture.has_vm(starting->id()));
}

TEST_CASE("prune: a sleeping vm whose record is damaged stays until it is removed by its id") {
  Fixture fixture;
  const auto id = fixture.add_suspended("app:1");
  std::ofstream(fixture.store.vm_dir(id) / "vm.json") << "{";
  collect_dead_vms(fixture.store);
  CHECK(fixture.has_vm(id));
  CHECK(names(fixture.prune(), Kind::vm).empty());
  CHECK(fixture.has_vm(id));
  std::filesystem::remove(fixture.store.vm_dir(id) / "saved.json");
  CHECK(names(fixture.prune(), Kind::vm) == Names{id});
}

TEST_CASE("prune: of a sleeping vm only files that its state does not name go") {
  Fixture fixture;
  const auto id = fixture.add_suspended("app:1");
  const auto dir = fixture.store.vm_dir(id);
  write(dir / "pages-7");
  write(dir / "disk-9.layer");
  write(dir / "saved.json~0123");
  write(dir / "notes");
  CHECK(host::prune(fixture.store, {})->items.empty());  // young: about to be named, perhaps
  {
    const auto lock = lock_vm(dir);
    CHECK(host::prune(fixture.store, {}, std::chrono::seconds(0))->items.empty());
  }
  const auto report = fixture.prune();
  CHECK(names(report, Kind::file) ==
        Names{id + "/disk-9.layer", id + "/pages-7", id + "/saved.json~0123"});
  CHECK(report.bytes >= 3 * kFileBytes);
  for (const char* name : {"disk-1.layer", "pages-2", "state-2", "saved.json", "vm.json", "notes"})
    CHECK(std::filesystem::exists(dir / name));
  // Where the state can not be read, nothing is known of its files.
  std::ofstream(dir / "saved.json") << "{";
  write(dir / "pages-7");
  CHECK(fixture.prune().items.empty());
}

TEST_CASE("prune: what killed processes left goes, what is being written stays") {
  Fixture fixture;
  const auto entry = fixture.store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("mine", "x"));
  const auto left = fixture.store.data_dir() / "tmp" / "0123456789abcdef";
  std::filesystem::create_directory(left);
  write(left / "half");
  const auto report = fixture.prune();
  CHECK(names(report, Kind::leftover) == Names{"0123456789abcdef"});
  CHECK(report.bytes >= kFileBytes);
  CHECK(std::filesystem::exists(entry->dir() / "mine"));
  CHECK_FALSE(std::filesystem::exists(left));
}

TEST_CASE("prune: image versions go when asked for, superseded and needed by nobody") {
  Fixture fixture;
  for (int version = 1; version <= 5; ++version) fixture.add_image("app");
  fixture.add_image("other");
  fixture.add_suspended("app:1");
  fixture.add_checkpoint("app:2");
  const auto open = fixture.store.open_image("app:3");
  REQUIRE(open);
  fixture.add_vm("app:4", false, wire::ExitEvent::Reason::power_off);  // needs it no more

  CHECK(names(fixture.prune(), Kind::image).empty());
  CHECK(fixture.has_image("app:4"));
  CHECK(names(fixture.prune({.images = true}), Kind::image) == Names{"app:4"});
  CHECK_FALSE(fixture.has_image("app:4"));
  for (const char* kept : {"app:1", "app:2", "app:3", "app:5", "other:1"})
    CHECK(fixture.has_image(kept));
}

TEST_CASE("prune: a checkpoint that can not be read keeps every image") {
  Fixture fixture;
  fixture.add_image("app");
  fixture.add_image("app");
  const auto id = fixture.add_checkpoint("other:1");
  std::ofstream(fixture.store.checkpoint_dir(id) / "checkpoint.json") << "{";
  CHECK(fixture.prune({.images = true}).items.empty());
  CHECK(fixture.has_image("app:1"));
}

TEST_CASE("prune: checkpoints stay, and what their vms share with them") {
  Fixture fixture;
  const auto id = fixture.add_vm("app:1", false, wire::ExitEvent::Reason::power_off);
  const auto checkpoint = fixture.add_checkpoint("app:1");
  const auto dir = fixture.store.checkpoint_dir(checkpoint);
  std::filesystem::create_hard_link(dir / "pages-2", fixture.store.vm_dir(id) / "pages-2");
  const auto report = fixture.prune();
  CHECK(names(report, Kind::vm) == Names{id});
  CHECK(report.bytes < kFileBytes);
  for (const std::string& name : Fixture::saved().files())
    CHECK(std::filesystem::file_size(dir / name) == kFileBytes);
}

TEST_CASE("prune: bases and kernels go when asked for and no image was built with them") {
  Fixture fixture;
  for (const char* name : {"k", "k-old"}) fixture.add_kernel(name);
  for (const char* name : {"b", "b-old"}) fixture.add_base(name);
  fixture.add_image("app");
  CHECK(fixture.prune({.images = true}).items.empty());
  const auto report = fixture.prune({.images = true, .bases_and_kernels = true});
  CHECK(names(report, Kind::base) == Names{"b-old"});
  CHECK(names(report, Kind::kernel) == Names{"k-old"});
  CHECK(fixture.store.open_base("b"));
  CHECK(fixture.store.open_kernel("k"));
  // What an image that can not be read was built with is not known.
  fixture.add_kernel("k-new");
  std::ofstream(fixture.store.image_dir("app", "1") / "manifest.json") << "{";
  CHECK(host::prune(fixture.store, {.bases_and_kernels = true}).error().code == ErrorCode::corrupt);
  CHECK(fixture.store.open_kernel("k-new"));
}

TEST_CASE("prune: a file counts with its last name") {
  test::TempDir dir;
  write(dir / "a");
  std::filesystem::create_hard_link(dir / "a", dir / "b");
  FreedBytes freed;
  CHECK(freed.of(dir / "a") == 0);
  CHECK(freed.of(dir / "b") >= kFileBytes);
  CHECK(freed.of(dir / "b") == 0);
  CHECK(freed.of(dir / "nothing") == 0);
}
