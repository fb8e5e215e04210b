#include "vmm/disk/disk_stack.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>

#include "vmm/disk/disk_files.hpp"
#include "vmm/disk/forwarding_loop.hpp"

using namespace microvm;
using namespace microvm::test;
using sys::Loop;

namespace {

constexpr size_t kBase = 1u << 20;

struct Fixture {
  explicit Fixture(Loop::Backend backend = Loop::Backend::automatic)
      : loop(std::move(*Loop::create(backend))) {
    files.write_file("base", pattern(kBase, 1));
  }
  BlockingDisk open(const std::vector<std::string>& names, const vmm::DiskOptions& options = {}) {
    auto disk = open_disk(*loop, files, names, options);
    REQUIRE(disk);
    return std::move(*disk);
  }

  DiskFiles files;
  std::unique_ptr<Loop> loop;
};

void put(Data& into, uint64_t offset, const Data& data) {
  std::copy(data.begin(), data.end(), into.begin() + static_cast<ptrdiff_t>(offset));
}

}  // namespace

TEST_CASE("disk: copy-up keeps what the write does not touch") {
  Fixture t;
  Data model = t.files.read_file("base");
  BlockingDisk disk = t.open({"base", "top"}, {.granule_bytes = 16384});
  CHECK(disk.disk->size_bytes() == kBase);
  struct Write {
    uint64_t offset;
    size_t size;
  };
  unsigned seed = 10;
  for (const Write& w : {Write{512, 512}, Write{16384 * 2 - 1024, 2048}, Write{16384 * 4, 16384},
                         Write{16384 * 6 + 512, 3 * 16384}, Write{16384 * 6, 512},
                         Write{kBase - 512, 512}, Write{0, 16384}}) {
    const Data data = pattern(w.size, ++seed);
    REQUIRE(disk.write(w.offset, data) == 0);
    put(model, w.offset, data);
    REQUIRE(disk.read(0, kBase) == model);
  }
  CHECK(disk.flush() == 0);
  BlockingDisk again = t.open({"base", "top"}, {.read_only = true});
  CHECK(again.read(0, kBase) == model);
  CHECK(t.files.read_file("base") == pattern(kBase, 1));
}

TEST_CASE("disk: random operations agree with a plain array, many in flight") {
  for (const auto backend : {Loop::Backend::automatic, Loop::Backend::plain}) {
    for (const uint32_t granule : {4096u, 65536u}) {
      Fixture t(backend);
      // Another granule size below, and a base that ends before the disk does.
      t.open({"base", "middle"}, {.granule_bytes = 8192, .format_bytes = kBase + 40 * 512});
      BlockingDisk middle = t.open({"base", "middle"});
      REQUIRE(middle.write(300 * 512, pattern(9000 / 512 * 512, 3)) == 0);
      REQUIRE(middle.flush() == 0);
      BlockingDisk disk = t.open({"base", "middle", "top"}, {.granule_bytes = granule});
      const uint64_t sectors = disk.disk->size_bytes() / 512;
      REQUIRE(sectors == kBase / 512 + 40);
      Data model = disk.read(0, sectors * 512);
      std::mt19937 random(granule);
      for (int round = 0; round < 60; ++round) {
        // A batch of writes that do not overlap each other but share granules.
        std::vector<Data> batch;
        size_t done = 0;
        uint64_t sector = random() % 64;
        while (sector < sectors) {
          const uint64_t count = std::min<uint64_t>(1 + random() % 40, sectors - sector);
          batch.push_back(pattern(count * 512, static_cast<unsigned>(random())));
          const Data& data = batch.back();
          put(model, sector * 512, data);
          const iovec halves[2] = {{const_cast<std::byte*>(data.data()), 512},
                                   {const_cast<std::byte*>(data.data()) + 512, data.size() - 512}};
          disk.disk->write(halves, sector * 512, [&done](int error) {
            CHECK(error == 0);
            ++done;
          });
          sector += count + random() % 200;
        }
        if (round % 10 == 0) disk.disk->flush([](int error) { CHECK(error == 0); });
        REQUIRE(disk.disk->in_flight() >= batch.size());
        while (disk.disk->in_flight() > 0) {
          t.loop->run_once(std::chrono::milliseconds(100));
        }
        REQUIRE(done == batch.size());
        REQUIRE(disk.read(0, model.size()) == model);
      }
      CHECK(disk.flush() == 0);
      BlockingDisk again = t.open({"base", "middle", "top"}, {.read_only = true});
      CHECK(again.read(0, model.size()) == model);
      CHECK(t.files.read_file("base") == pattern(kBase, 1));
    }
  }
}

TEST_CASE("disk: buffers that are contiguous in memory go to the files as one") {
  class CountingLoop final : public ForwardingLoop {
   public:
    using ForwardingLoop::ForwardingLoop;
    void read_file(int fd, std::span<const iovec> list, uint64_t offset, IoHandler done) override {
      sizes.push_back(list.size());
      ForwardingLoop::read_file(fd, list, offset, std::move(done));
    }
    void write_file(int fd, std::span<const iovec> list, uint64_t offset, IoHandler done) override {
      sizes.push_back(list.size());
      ForwardingLoop::write_file(fd, list, offset, std::move(done));
    }
    std::vector<size_t> sizes;
  };
  Fixture t;
  auto counting = std::make_unique<CountingLoop>(std::move(t.loop));
  CountingLoop& loop = *counting;
  t.loop = std::move(counting);
  BlockingDisk disk = t.open({"base", "top"});
  Data data = pattern(3 * 4096, 7);
  // Two neighbours, none, and one that is not.
  const std::array<iovec, 4> list{
      {{data.data(), 4096}, {data.data() + 4096, 2048}, {nullptr, 0}, {data.data() + 8192, 2048}}};
  std::optional<int> result;
  disk.disk->write(list, 0, [&](int error) { result = error; });
  while (!result) loop.run_once(std::chrono::milliseconds(100));
  CHECK(*result == 0);
  CHECK(loop.sizes == std::vector<size_t>{2});
  loop.sizes.clear();
  result.reset();
  Data back(3 * 4096);
  const std::array<iovec, 2> halves{{{back.data(), 2048}, {back.data() + 2048, 6144}}};
  disk.disk->read(halves, 0, [&](int error) { result = error; });
  while (!result) loop.run_once(std::chrono::milliseconds(100));
  CHECK(loop.sizes == std::vector<size_t>{1});
  CHECK(std::equal(back.begin(), back.begin() + 6144, data.begin()));
  CHECK(std::equal(back.begin() + 6144, back.begin() + 8192, data.begin() + 8192));
}

TEST_CASE("disk: writes to one granule at the same time lose nothing") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "top"}, {.granule_bytes = 65536});
  Data model = t.files.read_file("base");
  std::vector<Data> parts;
  for (unsigned i = 0; i < 128; ++i) {
    parts.push_back(pattern(512, 100 + i));
    put(model, i * 512ul, parts.back());
  }
  parts.push_back(pattern(65536 + 512, 99));  // whole granule and the start of the next
  put(model, 2 * 65536, parts.back());
  parts.push_back(pattern(512, 98));
  put(model, 3 * 65536 + 1024, parts.back());
  for (unsigned i = 0; i < parts.size(); ++i) {
    const iovec buffer{parts[i].data(), parts[i].size()};
    const uint64_t offset = i < 128 ? i * 512ul : i == 128 ? 2 * 65536 : 3 * 65536 + 1024;
    disk.disk->write({&buffer, 1}, offset, [](int error) { CHECK(error == 0); });
  }
  while (disk.disk->in_flight() > 0) {
    t.loop->run_once(std::chrono::milliseconds(100));
  }
  CHECK(disk.read(0, kBase) == model);
}

TEST_CASE("disk: two layers over one base diverge and the base stays as it is") {
  Fixture t;
  BlockingDisk image = t.open({"base", "image"});
  REQUIRE(image.write(8192, pattern(4096, 5)) == 0);
  REQUIRE(image.flush() == 0);
  const Data image_bytes = t.files.read_file("image");
  BlockingDisk one = t.open({"base", "image", "one"});
  BlockingDisk two = t.open({"base", "image", "two"});
  CHECK(one.read(8192, 4096) == pattern(4096, 5));
  REQUIRE(one.write(8192, pattern(512, 6)) == 0);
  REQUIRE(two.write(8192 + 512, pattern(512, 7)) == 0);
  CHECK(one.read(8192, 512) == pattern(512, 6));
  Data expected = pattern(4096, 5);
  put(expected, 512, pattern(512, 7));
  CHECK(two.read(8192, 4096) == expected);
  CHECK(t.files.read_file("base") == pattern(kBase, 1));
  CHECK(t.files.read_file("image") == image_bytes);
}

TEST_CASE("disk: zeroes and discards free the layer's space and keep the rest") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "top"});
  Data model = t.files.read_file("base");
  const Data data = pattern(512 * 1024, 4);
  REQUIRE(disk.write(0, data) == 0);
  put(model, 0, data);
  REQUIRE(disk.flush() == 0);
  const uint64_t before = t.files.allocated_bytes("top");

  REQUIRE(disk.write_zeroes(512, 256 * 1024) == 0);
  put(model, 512, Data(256 * 1024));
  CHECK(disk.read(0, kBase) == model);
  CHECK(t.files.allocated_bytes("top") + 200 * 1024 < before);
  REQUIRE(disk.write_zeroes(700 * 1024, 512) == 0);  // not held by the layer, less than a granule
  put(model, 700 * 1024, Data(512));
  REQUIRE(disk.write_zeroes(800 * 1024, 64 * 1024) == 0);
  put(model, 800 * 1024, Data(64 * 1024));
  CHECK(disk.read(0, kBase) == model);

  REQUIRE(disk.discard(300 * 1024 + 512, 8192) == 0);
  put(model, 304 * 1024, Data(4096));  // the one whole granule inside, read as zeros from now on
  REQUIRE(disk.discard(900 * 1024, 8192) == 0);  // the base's: nothing to free
  CHECK(disk.read(0, kBase) == model);
  REQUIRE(disk.flush() == 0);
  BlockingDisk again = t.open({"base", "top"}, {.read_only = true});
  CHECK(again.read(0, kBase) == model);
}

TEST_CASE("disk: a discard of scattered granules frees some, of a whole range all") {
  constexpr uint64_t kGranule = 4096;
  constexpr uint64_t kDisk = 1024 * kGranule;
  Fixture t;
  BlockingDisk scattered = t.open({"base", "scattered"}, {.format_bytes = kDisk});
  for (uint64_t at = 0; at < kDisk; at += 2 * kGranule) {
    REQUIRE(scattered.write(at, pattern(kGranule, 4)) == 0);
  }
  REQUIRE(scattered.flush() == 0);
  const uint64_t before = t.files.allocated_bytes("scattered");
  REQUIRE(scattered.discard(0, kDisk) == 0);
  const uint64_t freed = before - t.files.allocated_bytes("scattered");
  CHECK(freed > 0);
  CHECK(freed <= 64 * kGranule);

  BlockingDisk whole = t.open({"base", "whole"}, {.format_bytes = kDisk});
  REQUIRE(whole.write(0, pattern(kDisk, 5)) == 0);
  REQUIRE(whole.flush() == 0);
  REQUIRE(whole.discard(0, kDisk) == 0);
  CHECK(t.files.allocated_bytes("whole") < kDisk / 10);
}

TEST_CASE("disk: what does not fit is refused, later and by errno") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "top"});
  CHECK(disk.write(kBase, pattern(512, 1)) == EINVAL);
  CHECK(disk.write(kBase - 512, pattern(1024, 1)) == EINVAL);
  CHECK(disk.write(UINT64_MAX - 511, pattern(512, 1)) == EINVAL);
  CHECK(disk.write(0, {}) == EINVAL);
  CHECK(disk.discard(512, UINT64_MAX) == EINVAL);
  BlockingDisk base = t.open({"base"}, {.read_only = true});
  CHECK(base.write(0, pattern(512, 1)) == EROFS);
  CHECK(base.write_zeroes(0, 512) == EROFS);
  CHECK(base.flush() == 0);
}

TEST_CASE("disk: a base that shrinks under us is an I/O error") {
  Fixture t;
  BlockingDisk disk = t.open({"base", "top"});
  REQUIRE(::truncate(t.files.path("base").c_str(), 4096) == 0);
  CHECK(disk.read(0, 4096) == t.files.read_file("base"));
  CHECK(disk.read(8192, 4096).empty());
  CHECK(disk.write(8192, pattern(512, 1)) == EIO);  // its copy-up
  CHECK(disk.write(8192, pattern(4096, 1)) == 0);
  CHECK(disk.read(8192, 4096) == pattern(4096, 1));
}

TEST_CASE("disk: what is in flight outlives the disk") {
  Fixture t;
  Data buffer = pattern(4096, 8);
  {
    BlockingDisk disk = t.open({"base", "top"});
    const iovec list{buffer.data(), 512};
    disk.disk->write({&list, 1}, 512, [](int) { FAIL("nobody is there any more"); });
    disk.disk->read({&list, 1}, 0, [](int) { FAIL("nobody is there any more"); });
    disk.disk->flush([](int) { FAIL("nobody is there any more"); });
  }
  for (int i = 0; i < 20; ++i) {
    t.loop->run_once(std::chrono::milliseconds(10));
  }
  CHECK(t.loop->io_in_flight() == 0);
}
