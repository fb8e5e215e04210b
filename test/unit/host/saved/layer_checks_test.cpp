#include "host/saved/layer_checks.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "host/store/files.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
namespace fs = std::filesystem;

namespace {

const Limits kNoLimits{CallLimits{}};

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

void flip_byte(const fs::path& path, uint64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char flipped = static_cast<char>(file.get() ^ 1);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(flipped);
}

struct Fixture {
  test::TempDir dir;
  SavedState saved{.saved = "2026-11-24T09:00:00Z",
                   .layers = {"disk-1.layer", "disk-2.layer"},
                   .pages = {},
                   .state = "state-2"};

  Fixture() {
    for (const std::string& name : saved.layers) write(dir / name, std::string(50'000, name[5]));
    REQUIRE(add(std::nullopt));
    REQUIRE(write_saved(dir.path(), saved));
  }
  Result<void> add(const std::optional<SavedState>& known) {
    return add_checks(saved, known, dir.path(), CallCheck(kNoLimits, "test"));
  }
  Result<void> verify() const { return verify_layers(dir.path(), saved, kNoLimits); }
  void check_refused(const std::string& name) const {
    const auto refused = verify();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::corrupt);
    CHECK(refused.error().message.find(name) != std::string::npos);
  }
};

}  // namespace

TEST_CASE("layer checks: come back from the record, and good layers pass") {
  const Fixture fixture;
  const auto back = read_saved(fixture.dir.path());
  REQUIRE(back);
  REQUIRE(back->has_value());
  REQUIRE((*back)->checks.size() == 2);
  CHECK((*back)->checks[0].sha256 == fixture.saved.checks[0].sha256);
  CHECK((*back)->checks[0].sha256 != (*back)->checks[1].sha256);
  CHECK((*back)->checks[1].size_bytes == 50'000);
  CHECK((*back)->checks[1].mtime_ns == fixture.saved.checks[1].mtime_ns);
  CHECK(fixture.verify());
}

TEST_CASE("layer checks: a flipped bit and a cut end are named") {
  for (const uint64_t at : {0, 25'000, 49'999}) {
    const Fixture fixture;
    flip_byte(fixture.dir / "disk-2.layer", at);
    fixture.check_refused("disk-2.layer");
    flip_byte(fixture.dir / "disk-2.layer", at);  // repaired
    CHECK(fixture.verify());
  }
  const Fixture fixture;
  fs::resize_file(fixture.dir / "disk-1.layer", 49'000);
  fixture.check_refused("disk-1.layer");
  fs::remove(fixture.dir / "disk-1.layer");
  CHECK_FALSE(fixture.verify());
}

TEST_CASE("layer checks: a copy of the files is read once more, then known") {
  const Fixture fixture;
  const auto layer = fixture.dir / "disk-1.layer";
  fs::copy_file(layer, fixture.dir / "copy");
  fs::rename(fixture.dir / "copy", layer);
  CHECK(fixture.verify());
  const auto back = read_saved(fixture.dir.path());
  REQUIRE(back);
  struct stat info{};
  REQUIRE(::stat(layer.c_str(), &info) == 0);
  CHECK((*back)->checks[0].inode == info.st_ino);
  CHECK((*back)->checks[0].sha256 == fixture.saved.checks[0].sha256);
}

TEST_CASE("layer checks: names that come and go change nothing") {
  const Fixture fixture;
  const auto before = read_text_file(fixture.dir / kSavedFile, kMaxStateRecordBytes);
  fs::create_hard_link(fixture.dir / "disk-1.layer", fixture.dir / "other");
  CHECK(fixture.verify());
  REQUIRE(before);
  CHECK(read_text_file(fixture.dir / kSavedFile, kMaxStateRecordBytes).value_or("") == *before);
}

TEST_CASE("layer checks: what is known is carried over and only new layers are read") {
  Fixture fixture;
  const SavedState known = fixture.saved;
  // Damage is not blessed by the next suspend.
  flip_byte(fixture.dir / "disk-1.layer", 7);
  write(fixture.dir / "disk-3.layer", "new");
  fixture.saved.layers.push_back("disk-3.layer");
  REQUIRE(fixture.add(known));
  REQUIRE(fixture.saved.checks.size() == 3);
  CHECK(fixture.saved.checks[0].sha256 == known.checks[0].sha256);
  CHECK(fixture.saved.checks[2].size_bytes == 3);
  fixture.check_refused("disk-1.layer");
}

TEST_CASE("layer checks: states of versions without them are taken as they are") {
  Fixture fixture;
  fixture.saved.checks.clear();
  flip_byte(fixture.dir / "disk-1.layer", 7);
  CHECK(fixture.verify());
  fixture.saved.checks = {{}, {}};  // not known, after a merge that was cut short
  CHECK(fixture.verify());
}

TEST_CASE("layer checks: one that a merge forgot stays forgotten in the record") {
  Fixture fixture;
  fixture.saved.checks[0] = {};
  REQUIRE(write_saved(fixture.dir.path(), fixture.saved));
  const auto back = read_saved(fixture.dir.path());
  REQUIRE(back);
  REQUIRE((*back)->checks.size() == 2);
  CHECK((*back)->checks[0].sha256.empty());
  CHECK((*back)->checks[1].sha256 == fixture.saved.checks[1].sha256);
  CHECK(fixture.verify());
}

TEST_CASE("layer checks: a record whose checks do not fit is corrupt") {
  for (const char* checks : {"[{}]", "1",
                             R"([{"sha256":"","size_bytes":1,"inode":1,"mtime_ns":1},)"
                             R"({"sha256":"","size_bytes":1,"inode":1,"mtime_ns":1}])",
                             R"([{"sha256":"zz","size_bytes":1,"inode":1,"mtime_ns":1}])",
                             R"([{"sha256":"","size_bytes":-1,"inode":1,"mtime_ns":1}])"}) {
    INFO(checks);
    const std::string text = R"({"saved":"x","layers":["disk-1.layer"],"pages":[],)"
                             R"("state":"state-1","checks":)" +
                             std::string(checks) + "}";
    CHECK(parse_saved(text, "saved.json").error().code == ErrorCode::corrupt);
  }
}

TEST_CASE("layer checks: reading ends when the caller has enough") {
  Fixture fixture;
  CancelToken token;
  token.cancel();
  const Limits cancelled(CallLimits{&token, {}});
  CHECK(add_checks(fixture.saved, std::nullopt, fixture.dir.path(), CallCheck(cancelled, "test"))
            .error()
            .code == ErrorCode::cancelled);
}
