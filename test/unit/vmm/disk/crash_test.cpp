// What a layer holds after a crash: at every step of every write and flush, images of the file are
// made as a killed worker or a crashed host would leave it, and opened again.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "vmm/disk/disk_files.hpp"
#include "vmm/disk/forwarding_loop.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

constexpr size_t kSector = 512;
constexpr size_t kBusy = 256 * 1024;  // most writes go below
constexpr size_t kBase = 2 * kBusy;
constexpr uint32_t kGranule = 8192;

// Passes everything on to a real loop and keeps, sector by sector, what a host that crashes now may
// or may not have on its disk.
class CrashLoop final : public ForwardingLoop {
 public:
  using ForwardingLoop::ForwardingLoop;

  std::function<void()> after_event;
  Data durable;  // the file as it certainly is

  // The file with a random choice of the writes that are not durable yet, cut at sectors.
  Data crashed(std::mt19937& random) const {
    Data image = durable;
    for (const auto& write : pending_) {
      for (size_t at = 0; at < write->data.size(); at += kSector) {
        if (random() % 2 == 0) continue;
        std::copy_n(write->data.begin() + static_cast<ptrdiff_t>(at), kSector,
                    image.begin() + static_cast<ptrdiff_t>(write->offset + at));
      }
    }
    return image;
  }

  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                  IoHandler done) override {
    auto write = std::make_shared<Write>();
    write->offset = offset;
    for (const iovec& buffer : buffers) {
      const auto* bytes = static_cast<const std::byte*>(buffer.iov_base);
      write->data.insert(write->data.end(), bytes, bytes + buffer.iov_len);
    }
    pending_.push_back(write);
    after_event();
    ForwardingLoop::write_file(fd, buffers, offset, [this, write, done](int64_t result) {
      write->completed = true;
      after_event();
      done(result);
      after_event();
    });
  }
  // Only what was complete when the sync began is durable when it ends. With `hold` set it waits
  // for release(), so that the test can do something meanwhile.
  void sync_file(int fd, IoHandler done) override {
    std::vector<std::shared_ptr<Write>> covered;
    std::copy_if(pending_.begin(), pending_.end(), std::back_inserter(covered),
                 [](const auto& write) { return write->completed; });
    held_ = [this, fd, covered, done] {
      ForwardingLoop::sync_file(fd, [this, covered, done](int64_t result) {
        make_durable(covered);
        after_event();
        done(result);
        after_event();
      });
    };
    if (!hold) release();
  }
  void release() { std::exchange(held_, nullptr)(); }
  bool hold = false;

 private:
  struct Write {
    uint64_t offset = 0;
    Data data;
    bool completed = false;
  };
  void make_durable(const std::vector<std::shared_ptr<Write>>& writes) {
    for (const auto& write : writes) {
      std::copy(write->data.begin(), write->data.end(),
                durable.begin() + static_cast<ptrdiff_t>(write->offset));
      std::erase(pending_, write);
    }
  }

  std::function<void()> held_;
  std::vector<std::shared_ptr<Write>> pending_;
};

// What each sector of the disk may be: as of the last flush, or anything written since it began.
class Expectation {
 public:
  explicit Expectation(Data start) : flushed_(std::move(start)), now_(flushed_) {}

  void wrote(uint64_t offset, const Data& data) {
    std::copy(data.begin(), data.end(), now_.begin() + static_cast<ptrdiff_t>(offset));
    since_.emplace_back(offset, data);
  }
  void flush_begins() {
    flushing_ = now_;
    covered_ = since_.size();
  }
  void flush_ended() {
    flushed_ = flushing_;
    since_.erase(since_.begin(), since_.begin() + static_cast<ptrdiff_t>(covered_));
  }
  [[nodiscard]] bool allows(const Data& disk) const {
    for (size_t at = 0; at < disk.size(); at += kSector) {
      if (!equal(disk, flushed_, at, at) && !written_since(disk, at)) return false;
    }
    return true;
  }
  [[nodiscard]] const Data& now() const { return now_; }

 private:
  static bool equal(const Data& a, const Data& b, size_t at_a, size_t at_b) {
    return std::equal(a.begin() + static_cast<ptrdiff_t>(at_a),
                      a.begin() + static_cast<ptrdiff_t>(at_a + kSector),
                      b.begin() + static_cast<ptrdiff_t>(at_b));
  }
  [[nodiscard]] bool written_since(const Data& disk, size_t at) const {
    return std::any_of(since_.begin(), since_.end(), [&](const auto& write) {
      return at >= write.first && at < write.first + write.second.size() &&
             equal(disk, write.second, at, at - write.first);
    });
  }
  Data flushed_;
  Data flushing_;
  Data now_;
  std::vector<std::pair<uint64_t, Data>> since_;
  size_t covered_ = 0;
};

}  // namespace

TEST_CASE("disk: no crash loses what was flushed or invents what was not written") {
  DiskFiles files;
  files.write_file("base", pattern(kBase, 1));
  CrashLoop loop(std::move(*sys::Loop::create()));
  auto other = std::move(*sys::Loop::create());  // for the opened images
  std::mt19937 random(7);
  int images = 0;
  Expectation expected(files.read_file("base"));

  const auto check = [&](const Data& image) {
    files.write_file("crashed", image);
    auto disk = open_disk(*other, files, {"base", "crashed"}, {.read_only = true});
    REQUIRE(disk);
    if (!expected.allows(disk->read(0, kBase))) FAIL_CHECK("image " << images);
    ++images;
  };
  loop.after_event = [&] {
    check(files.read_file("top"));  // a killed worker: the kernel keeps what was written
    check(loop.crashed(random));    // a crashed host
  };

  auto disk = open_disk(loop, files, {"base", "top"}, {.granule_bytes = kGranule});
  REQUIRE(disk);
  loop.durable = files.read_file("top");
  std::vector<Data> writes;  // alive until they are done
  for (uint64_t round = 0; round < 4; ++round) {
    for (int i = 0; i < 4; ++i) {
      const size_t sectors = 1 + random() % 40;
      const uint64_t offset = random() % (kBusy / kSector - sectors) * kSector;
      writes.push_back(pattern(sectors * kSector, static_cast<unsigned>(random())));
      expected.wrote(offset, writes.back());
      REQUIRE(disk->write(offset, writes.back()) == 0);
    }
    expected.flush_begins();
    bool flushed = false;
    loop.hold = true;
    disk->disk->flush([&](int error) {
      CHECK(error == 0);
      expected.flush_ended();
      flushed = true;
    });
    // Not covered by that flush, complete before its first sync is, in a granule of its own.
    writes.push_back(pattern(3 * kSector, static_cast<unsigned>(random())));
    const uint64_t late = kBusy + round * kGranule + kSector;
    expected.wrote(late, writes.back());
    REQUIRE(disk->write(late, writes.back()) == 0);
    loop.hold = false;
    loop.release();
    while (!flushed) {
      loop.run_once(std::chrono::milliseconds(50));
    }
  }
  CHECK(images > 150);
  CHECK(disk->read(0, kBase) == expected.now());
  CHECK(files.read_file("base") == pattern(kBase, 1));
}

TEST_CASE("disk: a sync that fails is not forgotten") {
  class FailingSync final : public ForwardingLoop {
   public:
    using ForwardingLoop::ForwardingLoop;
    bool fail = false;
    void sync_file(int fd, IoHandler done) override {
      if (!fail) return ForwardingLoop::sync_file(fd, std::move(done));
      post([done = std::move(done)] { done(-EIO); });
    }
  };
  DiskFiles files;
  files.write_file("base", pattern(kBase, 1));
  FailingSync loop(std::move(*sys::Loop::create()));
  auto disk = open_disk(loop, files, {"base", "top"});
  REQUIRE(disk);
  REQUIRE(disk->write(0, pattern(4096, 1)) == 0);
  loop.fail = true;
  CHECK(disk->flush() == EIO);
  loop.fail = false;
  CHECK(disk->flush() == EIO);
  CHECK(disk->write(0, pattern(4096, 2)) == EIO);
  CHECK(disk->read(0, 4096) == pattern(4096, 1));
}
