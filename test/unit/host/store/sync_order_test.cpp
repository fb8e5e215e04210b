// Which files are synced before which rename: what a crash of the host may not turn around.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "host/store/files.hpp"
#include "unit/file_calls.hpp"
#include "unit/host/store_entries.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;

namespace {

using Calls = std::vector<std::string>;

struct Fixture {
  test::TempDir dir;
  Store store = *Store::open(dir.path());
};

// Where a call stands among them; REQUIREs that it is there.
size_t place_of(const Calls& calls, const std::string& call) {
  const auto found = std::ranges::find(calls, call);
  REQUIRE_MESSAGE(found != calls.end(), call);
  return static_cast<size_t>(found - calls.begin());
}

// Entries are made in tmp/, under names of their own.
void check_entry_is_whole(const Calls& calls, const Calls& files, const std::string& to) {
  const size_t renamed = place_of(calls, "rename tmp/*/entry " + to);
  const auto last_before_rename = [&](const std::string& call) {
    size_t last = 0;  // counted from 1
    for (size_t at = 0; at < renamed; ++at) {
      if (calls[at] == call) last = at + 1;
    }
    return last;
  };
  for (const std::string& name : files) {
    INFO(name);
    const size_t synced = last_before_rename("sync tmp/*/entry/" + name);
    CHECK(synced > 0);
    CHECK(synced > last_before_rename("write tmp/*/entry/" + name));
  }
  // The list of them as well; then where it is now, and where it was.
  CHECK(calls.at(renamed - 1) == "sync tmp/*/entry");
  CHECK(calls.at(renamed + 1) == "sync " + std::filesystem::path(to).parent_path().string());
  CHECK(calls.at(renamed + 2) == "sync tmp/*");
}

ImageManifest image_manifest() {
  ImageManifest manifest;
  manifest.info.name = "app";
  manifest.info.vcpus = 1;
  manifest.kernel_digest = test::digest_of("k1");
  manifest.base_digest = test::digest_of("b1");
  manifest.memory = {"memory.raw", 3, 3, {}};
  manifest.state = {"state.bin", 1, 1, test::digest_of("s")};
  return manifest;
}

TempEntry image_files(const Store& store) {
  auto entry = store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("memory.raw", "abc"));
  REQUIRE(entry->write_file("state.bin", "s"));
  return std::move(*entry);
}

}  // namespace

TEST_CASE("sync order: a replaced file is on the disk before it has its name, and then its name") {
  const test::TempDir dir;
  const test::FileCalls calls(dir.path());
  REQUIRE(replace_file(dir / "record", "text"));
  CHECK(test::in_a_row(calls.list()) ==
        test::in_a_row({"write record~*", "sync record~*", "rename record~* record", "sync ."}));
}

TEST_CASE("sync order: a file that can not be replaced is the old one, and nothing else is there") {
  for (size_t number = 1; number <= 3; ++number) {
    const test::TempDir dir;
    std::ofstream(dir / "record") << "old";
    test::FileCalls calls(dir.path());
    calls.fail(number, EIO);
    CHECK(replace_file(dir / "record", "new").error().code == ErrorCode::io);
    CHECK(calls.count() == number);
    CHECK(read_text_file(dir / "record", 10).value_or("") == "old");
    CHECK(list_dir(dir.path()).value_or(Calls{}) == Calls{"record"});
  }
}

TEST_CASE("sync order: a rename is on the disk at both its ends") {
  const test::TempDir dir;
  for (const char* name : {"a", "b", "a/x", "b/y"}) std::filesystem::create_directory(dir / name);
  {
    const test::FileCalls calls(dir.path());
    REQUIRE(rename_new(dir / "a/x", dir / "b/x"));
    CHECK(test::in_a_row(calls.list()) == test::in_a_row({"rename a/x b/x", "sync b", "sync a"}));
  }
  {
    const test::FileCalls calls(dir.path());
    REQUIRE(rename_new(dir / "b/x", dir / "b/z"));
    CHECK(test::in_a_row(calls.list()) == test::in_a_row({"rename b/x b/z", "sync b"}));
  }
  std::filesystem::create_directory(dir / "a/x");
  const test::FileCalls calls(dir.path());
  REQUIRE(rename_swap(dir / "a/x", dir / "b/y"));
  CHECK(test::in_a_row(calls.list()) == test::in_a_row({"rename a/x b/y", "sync b", "sync a"}));
}

TEST_CASE("sync order: a kernel") {
  Fixture t;
  const test::FileCalls calls(t.dir.path());
  test::add_kernel(t.store, "k1");
  check_entry_is_whole(calls.list(), {"vmlinux", "manifest.json", "in-use"},
                       "kernels/" + test::digest_of("k1"));
}

TEST_CASE("sync order: a base, and the name that means it last") {
  Fixture t;
  auto entry = t.store.new_entry();
  REQUIRE(entry);
  REQUIRE(entry->write_file("disk.ext4", "content"));
  const auto digest = test::digest_of("content");
  const test::FileCalls recorded(t.dir.path());
  REQUIRE(t.store.commit_base(std::move(*entry),
                              {{"debian:12", digest, 7}, 1, {"disk.ext4", 7, 7, {}}}));
  const Calls calls = recorded.list();
  check_entry_is_whole(calls, {"disk.ext4", "manifest.json", "in-use"}, "bases/" + digest);
  const size_t named = place_of(calls, "rename base-names/debian:12~* base-names/debian:12");
  CHECK(place_of(calls, "rename tmp/*/entry bases/" + digest) < named);
  CHECK(calls.at(named - 1) == "sync base-names/debian:12~*");
  CHECK(calls.at(named + 1) == "sync base-names");
}

TEST_CASE("sync order: an image, and one whose files are replaced") {
  Fixture t;
  const Calls files = {"memory.raw", "state.bin", "manifest.json", "in-use"};
  {
    auto entry = image_files(t.store);
    const test::FileCalls calls(t.dir.path());
    REQUIRE(t.store.commit_image(std::move(entry), image_manifest()));
    check_entry_is_whole(calls.list(), files, "images/app/1");
    CHECK(calls.list().front() == "sync images");  // where the directory of its name is
  }
  auto current = t.store.open_image("app");
  REQUIRE(current);
  auto entry = image_files(t.store);
  const ImageManifest manifest = current->manifest;
  const test::FileCalls calls(t.dir.path());
  REQUIRE(t.store.replace_image(std::move(*current), std::move(entry), manifest));
  check_entry_is_whole(calls.list(), files, "images/app/1");
}

TEST_CASE("sync order: a checkpoint") {
  Fixture t;
  auto entry = t.store.new_entry();
  REQUIRE(entry);
  for (const char* name : {"pages-1", "state-1", "saved.json"}) {
    REQUIRE(entry->write_file(name, name));
  }
  const test::FileCalls calls(t.dir.path());
  REQUIRE(t.store.commit_checkpoint(std::move(*entry), "0123456789ab"));
  check_entry_is_whole(calls.list(), {"pages-1", "state-1", "saved.json"},
                       "checkpoints/0123456789ab");
}
