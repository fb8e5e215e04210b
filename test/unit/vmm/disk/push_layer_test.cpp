// A new top layer for a disk in use: what is below stays as it is, for others to read.
#include <doctest/doctest.h>

#include "vmm/disk/disk_files.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

constexpr size_t kBase = 1u << 20;

struct Fixture {
  Fixture() { files.write_file("base", pattern(kBase, 1)); }
  BlockingDisk open(const std::vector<std::string>& names, const vmm::DiskOptions& options = {}) {
    auto disk = open_disk(*loop, files, names, options);
    REQUIRE(disk);
    return std::move(*disk);
  }
  void push(BlockingDisk& disk, const std::string& name) {
    auto layer = disk.disk->format_layer(files.open(name, O_RDWR));
    REQUIRE_MESSAGE(layer, (layer ? "" : layer.error().message));
    disk.disk->push_layer(std::move(*layer));
  }
  ErrorCode push_error(BlockingDisk& disk, const std::string& name, int flags = O_RDWR) {
    const auto layer = disk.disk->format_layer(files.open(name, flags));
    return layer ? ErrorCode{} : layer.error().code;
  }

  DiskFiles files;
  std::unique_ptr<sys::Loop> loop = std::move(*sys::Loop::create());
};

void put(Data& into, uint64_t offset, const Data& data) {
  std::copy(data.begin(), data.end(), into.begin() + static_cast<ptrdiff_t>(offset));
}

}  // namespace

TEST_CASE("push layer: the disk reads as before, and what comes after goes to the new layer") {
  for (const uint32_t granule : {4096u, 65536u}) {
    Fixture t;
    BlockingDisk disk = t.open({"base", "one"}, {.granule_bytes = granule});
    Data model = t.files.read_file("base");
    const auto write = [&](uint64_t offset, size_t size, unsigned seed) {
      const Data data = pattern(size, seed);
      REQUIRE(disk.write(offset, data) == 0);
      put(model, offset, data);
    };
    write(4096, 8192, 2);
    write(100 * 512, 512, 3);
    REQUIRE(disk.flush() == 0);
    const Data sealed = t.files.read_file("one");
    const Data as_sealed = model;

    t.push(disk, "two");
    CHECK(disk.disk->granule_bytes() == granule);
    CHECK(disk.read(0, kBase) == model);
    write(4096 + 512, 512, 4);  // over a granule of the layer below
    write(100 * 512, 1024, 5);  //
    write(500 * 1024, 70'000 / 512 * 512, 6);
    REQUIRE(disk.write_zeroes(8192, 4096) == 0);
    put(model, 8192, Data(4096));
    CHECK(disk.read(0, kBase) == model);
    REQUIRE(disk.flush() == 0);
    CHECK(t.files.read_file("one") == sealed);

    // Others, as clones are: on the sealed files, with layers of their own.
    CHECK(t.open({"base", "one"}, {.read_only = true}).read(0, kBase) == as_sealed);
    BlockingDisk clone = t.open({"base", "one", "clone"}, {.granule_bytes = granule});
    REQUIRE(clone.write(0, pattern(512, 9)) == 0);
    CHECK(disk.read(0, kBase) == model);
    CHECK(t.open({"base", "one", "two"}, {.read_only = true}).read(0, kBase) == model);

    t.push(disk, "three");
    write(0, 512, 7);
    REQUIRE(disk.flush() == 0);
    CHECK(t.open({"base", "one", "two", "three"}, {.read_only = true}).read(0, kBase) == model);
    CHECK(t.files.read_file("one") == sealed);
    CHECK(t.files.read_file("base") == pattern(kBase, 1));
  }
}

TEST_CASE("push layer: one that is taken away again leaves the disk and its files as before") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "one"});
  Data model = t.files.read_file("base");
  for (unsigned round = 1; round <= 3; ++round) {
    const Data data = pattern(8192, round);
    REQUIRE(disk.write(round * 4096, data) == 0);
    put(model, round * 4096, data);
    REQUIRE(disk.flush() == 0);
    t.push(disk, "two");
    disk.disk->pop_layer();
    CHECK(t.files.read_file("two").empty());
    CHECK(disk.read(0, kBase) == model);
  }
  REQUIRE(disk.flush() == 0);
  CHECK(t.open({"base", "one"}, {.read_only = true}).read(0, kBase) == model);
}

TEST_CASE("push layer: a file that does not fit is refused and the disk goes on") {
  Fixture t;
  t.files.write_file("full", pattern(512, 1));
  BlockingDisk disk = t.open({"base", "one"});
  CHECK(t.push_error(disk, "full") == ErrorCode::invalid_argument);
  CHECK(t.push_error(disk, "one") == ErrorCode::invalid_argument);
  CHECK(t.push_error(disk, "base") == ErrorCode::invalid_argument);
  CHECK(t.push_error(disk, "new", O_RDONLY) == ErrorCode::invalid_argument);
  BlockingDisk read_only = t.open({"base", "one"}, {.read_only = true});
  CHECK(t.push_error(read_only, "new") == ErrorCode::invalid_argument);
  REQUIRE(disk.write(0, pattern(512, 2)) == 0);
  CHECK(disk.read(0, 512) == pattern(512, 2));
  CHECK(disk.flush() == 0);
}

TEST_CASE("push layer: up to the height that clones can be started with") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "layer1"});
  for (size_t files = 2; files < vmm::kMaxDiskFiles; ++files) {
    REQUIRE(disk.write(files * 4096, pattern(512, static_cast<unsigned>(files))) == 0);
    REQUIRE(disk.flush() == 0);
    t.push(disk, "layer" + std::to_string(files));
  }
  const auto refused = disk.disk->format_layer(t.files.open("one more", O_RDWR));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::unsupported);
  CHECK(refused.error().message.find("too many disk layers") != std::string::npos);
  for (size_t files = 2; files < vmm::kMaxDiskFiles; ++files) {
    CHECK(disk.read(files * 4096, 512) == pattern(512, static_cast<unsigned>(files)));
  }
}
