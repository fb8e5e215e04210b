// One layer made of two: what a disk reads never changes, wherever the merge is cut off.
#include "vmm/disk/merge.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "unit/file_calls.hpp"
#include "vmm/disk/disk_files.hpp"
#include "vmm/disk/layer_file.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

constexpr size_t kBase = 1u << 20;
constexpr size_t kDisk = kBase + 5 * 512;  // the last granule is a short one

struct Fixture {
  explicit Fixture(uint32_t granule_bytes) : granule(granule_bytes) {
    files.write_file("base", pattern(kBase, 1));
    fill({"base", "a"}, 2, kDisk);
    fill({"base", "a", "b"}, 3, 0);
  }

  // Random writes, zeroes and discards to the last of these layers.
  void fill(const std::vector<std::string>& names, unsigned seed, uint64_t format_bytes) {
    auto disk =
        open_disk(*loop, files, names, {.granule_bytes = granule, .format_bytes = format_bytes});
    REQUIRE(disk);
    REQUIRE(scribble(*disk, kDisk, seed) == 0);
    REQUIRE(disk->write(kDisk - 512, pattern(512, seed)) == 0);
    REQUIRE(disk->flush() == 0);
  }

  Data content(const std::vector<std::string>& names) {
    auto disk = open_disk(*loop, files, names, {.read_only = true});
    REQUIRE(disk);
    return disk->read(0, kDisk);
  }

  Result<void> merge(const std::string& lower, const std::string& upper,
                     const vmm::BeforeWrite& before_write) {
    return vmm::merge_layers(files.open(lower, O_RDWR), files.open(upper, O_RDONLY), before_write);
  }

  // What is done to the lower layer, several of a kind in a row as one.
  std::string steps(const FileCalls& calls) const {
    const vmm::LayerHeader header{.granule_bytes = granule, .virtual_bytes = kDisk};
    std::string steps;
    std::string last;
    for (const FileCall& call : calls.all()) {
      const char* part = call.offset < header.data_offset() ? "map" : "data";
      const std::string step = call.what == "sync" ? "sync" : part;
      CHECK(call.file == "a");
      if (step != last) steps += (steps.empty() ? "" : ", ") + step;
      last = step;
    }
    return steps;
  }
  [[nodiscard]] std::string directory() const {
    return std::filesystem::path(files.path("a")).parent_path();
  }

  const uint32_t granule;
  DiskFiles files;
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
};

Result<void> go_on() {
  return {};
}

}  // namespace

TEST_CASE("merge: the lower layer alone reads as both did, and so do both") {
  for (const uint32_t granule : {4096u, 65536u}) {
    Fixture t(granule);
    const Data before = t.content({"base", "a", "b"});
    const Data upper = t.files.read_file("b");
    REQUIRE(before != t.content({"base", "a"}));
    const auto merged = t.merge("a", "b", go_on);
    REQUIRE_MESSAGE(merged, (merged ? "" : merged.error().message));
    CHECK(t.content({"base", "a"}) == before);
    CHECK(t.content({"base", "a", "b"}) == before);
    CHECK(t.files.read_file("b") == upper);
    CHECK(t.files.read_file("base") == pattern(kBase, 1));
    CHECK(t.merge("a", "b", go_on));  // once more changes nothing
    CHECK(t.content({"base", "a"}) == before);
  }
}

TEST_CASE("merge: cut off before any of its writes, both layers read as before") {
  for (const uint32_t granule : {4096u, 65536u}) {
    Fixture t(granule);
    const Data before = t.content({"base", "a", "b"});
    int writes = 0;
    const auto count = [&]() -> Result<void> {
      ++writes;
      return {};
    };
    t.files.copy("a", "whole");
    REQUIRE(t.merge("whole", "b", count));
    REQUIRE(writes >= 3);
    for (int last = 0; last < writes; ++last) {
      t.files.copy("a", "cut");
      int done = 0;
      const auto cut = t.merge("cut", "b", [&]() -> Result<void> {
        if (done++ < last) return {};
        return base::fail(ErrorCode::cancelled, "cut off");
      });
      REQUIRE_FALSE(cut);
      CHECK(cut.error().code == ErrorCode::cancelled);
      CHECK(t.content({"base", "cut", "b"}) == before);
      // And it can be begun anew.
      if (last % 4 != 0) continue;
      REQUIRE(t.merge("cut", "b", go_on));
      CHECK(t.content({"base", "cut"}) == before);
    }
  }
}

TEST_CASE("merge: the data is on the disk before the map says so, and then the map is") {
  for (const uint32_t granule : {4096u, 65536u}) {
    Fixture t(granule);
    const FileCalls calls(t.directory());
    REQUIRE(t.merge("a", "b", go_on));
    CHECK(t.steps(calls) == "data, sync, map, sync");
  }
}

TEST_CASE("merge: each write and sync fails once, and both layers read as before") {
  Fixture t(4096);
  const Data before = t.content({"base", "a", "b"});
  t.files.copy("a", "untouched");
  size_t count = 0;
  {
    const FileCalls calls(t.directory());
    REQUIRE(t.merge("a", "b", go_on));
    count = calls.count();
  }
  REQUIRE(count > 10);
  for (size_t number = 1; number <= count; ++number) {
    INFO("call ", number);
    t.files.copy("untouched", "a");
    bool hole = false;
    Result<void> merged;
    {
      FileCalls calls(t.directory());
      calls.fail(number, EIO);
      merged = t.merge("a", "b", go_on);
      hole = calls.all().at(number - 1).what == "hole";
      // Zeros are written where there can be no hole; after anything else nothing more is done.
      CHECK(calls.count() == (hole ? count + 1 : number));
    }
    CHECK(merged.has_value() == hole);
    if (!merged) CHECK(merged.error().code == ErrorCode::io);
    CHECK(t.content({"base", "a", "b"}) == before);
    if (hole) CHECK(t.content({"base", "a"}) == before);
  }
}

TEST_CASE("merge: zeros of the upper layer free the space of the lower one") {
  Fixture t(4096);
  auto disk = open_disk(*t.loop, t.files, {"base", "a", "b"});
  REQUIRE(disk);
  REQUIRE(disk->write_zeroes(0, kBase) == 0);
  REQUIRE(disk->flush() == 0);
  REQUIRE(t.merge("a", "b", go_on));
  CHECK(t.files.allocated_bytes("a") <= 128 * 1024);
  CHECK(t.content({"base", "a"}) == t.content({"base", "a", "b"}));
}

TEST_CASE("merge: layers that are not neighbours of one size are refused") {
  Fixture t(4096);
  const auto code_of = [&](const std::string& lower, const std::string& upper) {
    const auto merged = t.merge(lower, upper, go_on);
    return merged ? ErrorCode{} : merged.error().code;
  };
  const Data before = t.content({"base", "a", "b"});
  CHECK(code_of("b", "a") == ErrorCode::invalid_argument);  // made for the base's size
  for (const vmm::DiskOptions& options :
       {vmm::DiskOptions{.granule_bytes = 8192}, vmm::DiskOptions{.format_bytes = 2 * kBase}}) {
    t.files.write_file("other", {});
    REQUIRE(open_disk(*t.loop, t.files, {"base", "a", "other"}, options));
    CHECK(code_of("a", "other") == ErrorCode::invalid_argument);
  }
  t.files.write_file("junk", pattern(100'000, 1));
  CHECK(code_of("a", "junk") == ErrorCode::corrupt);
  CHECK(code_of("junk", "b") == ErrorCode::corrupt);
  CHECK(t.content({"base", "a", "b"}) == before);
}
