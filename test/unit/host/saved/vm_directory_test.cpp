#include "host/saved/vm_directory.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "golden/recorded_messages.hpp"
#include "host/store/rfc3339.hpp"
#include "state/exit_record.hpp"
#include "sys/file.hpp"
#include "unit/host/newer_exit_record.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

struct Fixture {
  test::TempDir dir;
  Store store = *Store::open(dir.path());

  NewVmDirectory create(const std::string& name = {}, bool owned = true) {
    auto directory = NewVmDirectory::create(store, name);
    REQUIRE(directory);
    VmRecord record;
    record.id = directory->id();
    record.name = name;
    record.image = "app:1";
    record.created = rfc3339_now();
    record.memory_bytes = 1 << 28;
    record.vcpus = 2;
    record.dies_with_owner = owned;
    record.hostname = "host";
    REQUIRE(directory->write_record(record));
    return std::move(*directory);
  }
  bool exists(const std::string& id) const { return std::filesystem::exists(store.vm_dir(id)); }
};

}  // namespace

TEST_CASE("vm directory: goes with a launch that failed, stays with one that did not") {
  Fixture fixture;
  std::string dropped;
  std::string kept;
  {
    NewVmDirectory failed = fixture.create("one");
    dropped = failed.id();
    NewVmDirectory good = fixture.create("two");
    kept = good.id();
    good.keep();
  }
  CHECK_FALSE(fixture.exists(dropped));
  CHECK(fixture.exists(kept));
  CHECK(resolve_vm(fixture.store, "one").error().code == ErrorCode::not_found);
  CHECK(*resolve_vm(fixture.store, "two") == kept);
  CHECK(*resolve_vm(fixture.store, kept.substr(0, 6)) == kept);
}

TEST_CASE("vm directory: the record comes back") {
  Fixture fixture;
  const NewVmDirectory directory = fixture.create("web");
  const auto record = read_record(directory.path());
  REQUIRE(record);
  CHECK(record->id == directory.id());
  CHECK(record->name == "web");
  CHECK(record->memory_bytes == 1 << 28);
  CHECK(record->dies_with_owner);
}

TEST_CASE("vm directory: damaged records are corrupt, never believed") {
  for (const char* text : {"", "{", "[]", "{\"id\": 1}", "{\"id\": \"../../../x\"}"}) {
    CHECK(parse_record(text, "vm.json").error().code == ErrorCode::corrupt);
  }
  const std::string large(kMaxVmRecordBytes + 1, ' ');
  CHECK(parse_record(large, "vm.json").error().code == ErrorCode::corrupt);
}

TEST_CASE("vm directory: names are unique while their vm is there") {
  Fixture fixture;
  NewVmDirectory first = fixture.create("web");
  const auto second = NewVmDirectory::create(fixture.store, "web");
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::already_exists);
  CHECK(NewVmDirectory::create(fixture.store, "a/b").error().code == ErrorCode::invalid_argument);
  CHECK(NewVmDirectory::create(fixture.store, ".x").error().code == ErrorCode::invalid_argument);
  CHECK(fixture.store.vm_ids()->size() == 1);
}

TEST_CASE("vm directory: the lock tells the living from the dead, and the dead are collected") {
  Fixture fixture;
  NewVmDirectory owned = fixture.create("owned");
  NewVmDirectory detached = fixture.create("detached", false);
  NewVmDirectory running = fixture.create("running");
  for (NewVmDirectory* each : {&owned, &detached, &running}) each->keep();
  auto running_files = running.make_files("disk-1.layer");
  REQUIRE(running_files);
  {
    const auto files = owned.make_files("disk-1.layer");
    const auto other_files = detached.make_files("disk-1.layer");
    REQUIRE((files && other_files));
    CHECK(is_locked(owned.path()));
    collect_dead_vms(fixture.store);
    CHECK(fixture.exists(owned.id()));
  }
  CHECK_FALSE(is_locked(owned.path()));
  CHECK(is_locked(running.path()));
  CHECK(describe_vm(fixture.store, owned.id())->state == VmState::terminated);
  collect_dead_vms(fixture.store);
  CHECK_FALSE(fixture.exists(owned.id()));
  CHECK(fixture.exists(detached.id()));
  CHECK(fixture.exists(running.id()));
  CHECK(resolve_vm(fixture.store, "owned").error().code == ErrorCode::not_found);
}

TEST_CASE("vm directory: looking for the dead does not hold one that outlives its owner") {
  Fixture fixture;
  NewVmDirectory detached = fixture.create("detached", false);
  detached.keep();
  REQUIRE(detached.make_files("disk-1.layer"));
  std::atomic<bool> enough = false;
  std::jthread looking([&] {
    while (!enough) collect_dead_vms(fixture.store);
  });
  int held = 0;
  for (int i = 0; i < 2000; ++i) held += lock_vm(detached.path()).has_value() ? 0 : 1;
  enough = true;
  CHECK(held == 0);
}

TEST_CASE("vm directory: the exit record says why a vm ended") {
  Fixture fixture;
  NewVmDirectory directory = fixture.create();
  {
    const auto files = directory.make_files("disk-1.layer");
    REQUIRE(files);
    CHECK_FALSE(read_exit(directory.path()));
    const wire::ExitEvent exit{wire::ExitEvent::Reason::panic, "Kernel panic - not syncing: x\ny"};
    REQUIRE(sys::pwrite_full(files->exit_record.get(), state::encode_exit_record(exit), 0));
  }
  const auto exit = read_exit(directory.path());
  REQUIRE(exit);
  CHECK(describe_exit(*exit) == "the guest's kernel panicked: Kernel panic - not syncing: x y");
  CHECK(exit_error("exec", *exit).code == ErrorCode::guest_failed);
  std::ofstream(directory.path() / "exit") << "garbage";
  CHECK_FALSE(read_exit(directory.path()));
}

TEST_CASE("vm directory: an exit record of version 1 still says how a vm ended") {
  Fixture fixture;
  NewVmDirectory directory = fixture.create();
  REQUIRE(directory.make_files("disk-1.layer"));
  const wire::Bytes old = test::recorded_messages().at("exit_suspended");
  std::ofstream(directory.path() / "exit") << wire::as_text(old);
  CHECK(find_phase(directory.path()) == VmPhase::suspended);
  {
    const auto lock = lock_vm(directory.path());
    REQUIRE(lock);
    REQUIRE(write_exit(lock->get(), {wire::ExitEvent::Reason::power_off, {}, {}}));
  }
  REQUIRE(read_exit(directory.path()));
  CHECK(read_exit(directory.path())->reason == wire::ExitEvent::Reason::power_off);
  CHECK(find_phase(directory.path()) == VmPhase::ended);
}

TEST_CASE("vm directory: a shorter exit record leaves nothing of a longer one") {
  Fixture fixture;
  NewVmDirectory directory = fixture.create();
  const auto files = directory.make_files("disk-1.layer");
  REQUIRE(files);
  const int fd = files->exit_record.get();
  REQUIRE(write_exit(fd, {wire::ExitEvent::Reason::panic, std::string(900, 'x'), {}}));
  REQUIRE(write_exit(fd, {wire::ExitEvent::Reason::suspended, {}, {}}));
  CHECK(std::filesystem::file_size(directory.path() / "exit") ==
        state::encode_exit_record({wire::ExitEvent::Reason::suspended, {}, {}}).size());
}

TEST_CASE("vm directory: a newer exit record is named, kept and not written over") {
  Fixture fixture;
  NewVmDirectory directory = fixture.create();
  REQUIRE(directory.make_files("disk-1.layer"));
  const wire::Bytes newer = test::newer_exit_record();
  std::ofstream(directory.path() / "exit") << wire::as_text(newer);
  const std::string reason =
      "exit record: version 3 was made by a newer libmicrovm, this one reads up to 2";
  CHECK_FALSE(read_exit(directory.path()));
  CHECK(find_phase(directory.path()) == VmPhase::suspended);
  VmInfo info;
  fill_state(info, directory.path(), VmPhase::suspended);
  CHECK(info.state_reason == reason);
  auto lock = lock_vm(directory.path());
  REQUIRE(lock);
  const auto refused = write_exit(lock->get(), {wire::ExitEvent::Reason::suspended, {}, {}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(make_worker_files(directory.path(), std::move(*lock), "disk-2.layer").error().message ==
        reason);
  CHECK(find_phase(directory.path()) == VmPhase::suspended);
}
