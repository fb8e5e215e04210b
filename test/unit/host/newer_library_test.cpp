// What a newer library left in a data directory: refused by name, never removed, never taken for
// nothing. The directory is that of test/golden, where single records get a later schema.
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "golden/golden_data.hpp"
#include "host/prune.hpp"
#include "host/saved/checkpoints.hpp"
#include "host/saved/vm_directory.hpp"
#include "host/store/files.hpp"
#include "microvm/runtime.hpp"
#include "unit/host/newer_exit_record.hpp"

using namespace microvm;
using namespace microvm::host;
using microvm::test::GoldenData;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  GoldenData data{"v1"};
  Store store = data.store();
  std::string sleeper = *resolve_vm(store, "sleeper");
  fs::path sleeper_dir = store.vm_dir(sleeper);
  fs::path checkpoint_dir = open_checkpoint(store, "halfway")->dir;

  // One of the directory's records says from now on that a later library wrote it.
  static void raise_schema(const fs::path& record) {
    auto text = read_text_file(record, 1 << 20);
    REQUIRE(text);
    const size_t at = text->find("\"schema\": 1");
    REQUIRE(at != std::string::npos);
    std::ofstream(record, std::ios::trunc) << text->replace(at, 11, "\"schema\": 2");
  }
  fs::path manifest_of(const char* kind) const {
    const auto entry = *fs::directory_iterator(store.data_dir() / kind);
    return entry.path() / "manifest.json";
  }

  // What opening the directory and pruning all that can be pruned takes away of `dir`.
  void check_all_stays(const fs::path& dir) {
    const auto before = files_in(dir);
    collect_dead_vms(store);
    // Not much is known here: what is asked for more than that may be refused as a whole.
    static_cast<void>(
        prune(store, {.dry_run = false, .images = true, .bases_and_kernels = true}, {}));
    REQUIRE(prune(store, {}, std::chrono::seconds(0)));
    CHECK(files_in(dir) == before);
  }
  static std::set<std::string> files_in(const fs::path& dir) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir)) names.insert(entry.path().filename());
    CHECK_FALSE(names.empty());
    return names;
  }
};

void check_refused(const Error& error, const std::string& file) {
  INFO(error.message);
  CHECK(error.code == ErrorCode::unsupported);
  CHECK(error.message.find(file + ": schema 2 was made by a newer libmicrovm") !=
        std::string::npos);
}

template <class Item>
void check_listed(const Result<Listing<Item>>& listing, size_t items, const std::string& file) {
  REQUIRE(listing);
  CHECK(listing->items.size() == items);
  REQUIRE(listing->damaged.size() == 1);
  check_refused(listing->damaged[0], file);
}

}  // namespace

TEST_CASE("newer library: its images stay, are named in the listing, and keep what they may need") {
  Fixture fixture;
  const auto dir = fixture.store.image_dir("counter", "1");
  Fixture::raise_schema(dir / "manifest.json");
  check_listed(fixture.store.images(), 1, "counter/1/manifest.json");
  check_refused(fixture.store.open_image("counter:1").error(), "manifest.json");
  CHECK(fixture.store.remove_kernel("0.0.1-tiny-amd64").error().code == ErrorCode::unsupported);
  CHECK(fixture.store.remove_base("tiny:1").error().code == ErrorCode::unsupported);
  fixture.check_all_stays(dir);
  fixture.check_all_stays(fixture.manifest_of("kernels").parent_path());
  fixture.check_all_stays(fixture.manifest_of("bases").parent_path());
}

TEST_CASE("newer library: its kernels and bases stay, also without a name and an image") {
  Fixture fixture;
  Fixture::raise_schema(fixture.manifest_of("kernels"));
  Fixture::raise_schema(fixture.manifest_of("bases"));
  check_listed(fixture.store.kernels(), 0, "manifest.json");
  check_listed(fixture.store.bases(), 0, "manifest.json");
  check_refused(fixture.store.open_base("tiny:1").error(), "manifest.json");
  for (const char* gone : {"images/counter", "base-names/tiny:1", "vms", "checkpoints"}) {
    fs::remove_all(fixture.store.data_dir() / gone);
  }
  for (const char* empty : {"vms", "checkpoints"}) {
    fs::create_directory(fixture.store.data_dir() / empty);
  }
  fixture.check_all_stays(fixture.manifest_of("kernels").parent_path());
  fixture.check_all_stays(fixture.manifest_of("bases").parent_path());
}

TEST_CASE("newer library: its vms stay, also one whose owner is gone, and are told of") {
  Fixture fixture;
  const auto record = fixture.sleeper_dir / "vm.json";
  auto text = *read_text_file(record, kMaxVmRecordBytes);
  const size_t at = text.find("\"dies_with_owner\": 0");
  REQUIRE(at != std::string::npos);
  std::ofstream(record, std::ios::trunc) << text.replace(at, 20, "\"dies_with_owner\": 1");
  Fixture::raise_schema(record);
  const auto info = describe_vm(fixture.store, fixture.sleeper);
  REQUIRE(info);
  CHECK(info->id == fixture.sleeper);
  CHECK(info->state == VmState::suspended);
  check_refused({ErrorCode::unsupported, info->state_reason}, "vm.json");
  fixture.check_all_stays(fixture.sleeper_dir);
  const auto unused = check_image_unused(fixture.store, "counter:2");
  REQUIRE_FALSE(unused);
  CHECK(unused.error().code == ErrorCode::busy);
  CHECK(unused.error().message.find(fixture.sleeper) != std::string::npos);
}

TEST_CASE("newer library: a state that it saved stays and is named by the resume") {
  Fixture fixture;
  Fixture::raise_schema(fixture.sleeper_dir / kSavedFile);
  check_refused(read_saved(fixture.sleeper_dir).error(), kSavedFile);
  CHECK(describe_vm(fixture.store, fixture.sleeper)->state == VmState::suspended);
  fixture.check_all_stays(fixture.sleeper_dir);
  Fixture::raise_schema(fixture.sleeper_dir / kRunFile);
  check_refused(read_run(fixture.sleeper_dir).error(), kRunFile);
}

TEST_CASE("newer library: a vm stays whose end it told in words that are not known") {
  Fixture fixture;
  const wire::Bytes exit = test::newer_exit_record();
  const auto ids = fixture.store.vm_ids();
  REQUIRE(ids);
  for (const std::string& id : *ids) {
    std::ofstream(fixture.store.vm_dir(id) / "exit", std::ios::trunc | std::ios::binary)
        << wire::as_text(exit);
  }
  for (const std::string& id : *ids) {
    const auto info = describe_vm(fixture.store, id);
    REQUIRE(info);
    CHECK(info->state == VmState::suspended);
    CHECK(info->state_reason.find("exit record: version 3 was made by a newer") !=
          std::string::npos);
    fixture.check_all_stays(fixture.store.vm_dir(id));
  }
}

TEST_CASE(
    "newer library: a resume over an end that it told is refused before anything is changed") {
  Fixture fixture;
  std::ofstream(fixture.sleeper_dir / "exit", std::ios::trunc | std::ios::binary)
      << wire::as_text(test::newer_exit_record());
  std::ofstream(fixture.sleeper_dir / "pages-99") << "no record here names it";
  const auto before = Fixture::files_in(fixture.sleeper_dir);
  const auto run_before = read_text_file(fixture.sleeper_dir / kRunFile, 1 << 20);
  {
    RuntimeOptions options;
    options.data_dir = fixture.store.data_dir();
    auto runtime = Runtime::open(options);
    REQUIRE(runtime);
    auto vm = runtime->attach(fixture.sleeper);
    REQUIRE(vm);
    const auto refused = vm->resume();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::unsupported);
  }
  CHECK(Fixture::files_in(fixture.sleeper_dir) == before);
  CHECK(read_text_file(fixture.sleeper_dir / kRunFile, 1 << 20).value_or("") ==
        run_before.value_or(""));
  fixture.check_all_stays(fixture.sleeper_dir);
}

TEST_CASE("newer library: its checkpoints stay, with files that no record here names") {
  for (const char* record : {"checkpoint.json", "saved.json"}) {
    Fixture fixture;
    Fixture::raise_schema(fixture.checkpoint_dir / record);
    std::ofstream(fixture.checkpoint_dir / "pages-99") << "of the newer library";
    const std::string id = fixture.checkpoint_dir.filename();
    check_refused(open_checkpoint(fixture.store, id).error(), record);
    fixture.check_all_stays(fixture.checkpoint_dir);
    CHECK(check_image_unused(fixture.store, "counter:1").error().code == ErrorCode::busy);
  }
  Fixture fixture;
  Fixture::raise_schema(fixture.checkpoint_dir / "checkpoint.json");
  check_listed(list_checkpoints(fixture.store), 0, "checkpoint.json");
  CHECK(check_image_unused(fixture.store, "counter:2").error().code == ErrorCode::busy);
}

TEST_CASE("newer library: the runtime lists its vms, opens none of them, and removes none") {
  Fixture fixture;
  std::string log;
  auto runtime = Runtime::open({.data_dir = fixture.data.dir(),
                                .log = [&log](std::string_view line) { log += line; },
                                .on_event = {}});
  REQUIRE(runtime);
  CHECK(runtime->vms()->size() == 2);
  Fixture::raise_schema(fixture.sleeper_dir / "vm.json");
  Fixture::raise_schema(fixture.checkpoint_dir / "checkpoint.json");
  const auto vms = runtime->vms();
  REQUIRE(vms);
  CHECK(std::ranges::count(*vms, fixture.sleeper, &VmInfo::id) == 1);
  check_refused(runtime->attach("sleeper").error(), "vm.json");
  check_refused(runtime->remove_vm("sleeper").error(), "vm.json");
  CHECK(runtime->remove_image("counter:2").error().code == ErrorCode::busy);
  CHECK(runtime->checkpoints()->empty());
  CHECK(log.find("checkpoint.json: schema 2") != std::string::npos);
  fixture.check_all_stays(fixture.sleeper_dir);
}
