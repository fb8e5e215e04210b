#include "vmm/virtio/block.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "vmm/disk/forwarding_loop.hpp"
#include "vmm/virtio/block_fixture.hpp"

using namespace microvm;
using namespace microvm::test;
using namespace microvm::vmm::mmio;
using vmm::BlockDevice;

namespace {

using Fixture = BlockFixture<OnMmio>;
using Header = BlockHeader;

class FullDisk : public ForwardingLoop {
 public:
  using ForwardingLoop::ForwardingLoop;
  void write_file(int fd, std::span<const iovec> buffers, uint64_t offset,
                  IoHandler done) override {
    if (!full) return ForwardingLoop::write_file(fd, buffers, offset, std::move(done));
    post([done = std::move(done)] { done(-ENOSPC); });
  }
  bool full = true;
};

// As file systems that find room only when they write back.
class FullOnSync final : public FullDisk {
 public:
  using FullDisk::FullDisk;
  void sync_file(int, IoHandler done) override {
    post([done = std::move(done)] { done(-ENOSPC); });
  }
};

void run_for(sys::Loop& loop, std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) loop.run_once(std::chrono::milliseconds(5));
}

template <class Bus>
void check_many_requests(sys::Loop::Backend backend) {
  BlockFixture<Bus> t(false, std::move(*sys::Loop::create(backend)));
  t.start();
  constexpr uint16_t kCount = 80;
  for (uint16_t slot = 0; slot < kCount; ++slot) {
    (void)t.memory.write_bytes(kData + slot * 4096ul, pattern(4096, 1000u + slot));
    t.offer(slot, {kOut, 0, slot * 8ul}, 4096, false);
  }
  t.ring.set_interrupt_event(0);
  t.transport->kick(0);
  std::vector<bool> seen(kCount);
  for (int i = 0; i < kCount; ++i) {
    t.ring.set_interrupt_event(t.ring.seen_used);
    const auto used = t.wait_used();
    REQUIRE(used);
    REQUIRE(used->id % 3 == 0);
    CHECK_FALSE(seen[used->id / 3]);
    seen[used->id / 3] = true;
    CHECK(t.status(static_cast<uint16_t>(used->id / 3)) == kOk);
  }
  // Where the kernel does them by and by, how many come at once is its affair.
  if (backend == sys::Loop::Backend::plain) CHECK(t.irq.count < kCount / 2);
  for (uint16_t slot = 0; slot < kCount; slot = static_cast<uint16_t>(slot + 7)) {
    CHECK(t.read(slot * 8ul, 4096) == pattern(4096, 1000u + slot));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("block: configuration space", Bus, OnMmio, OnPci) {
  BlockFixture<Bus> t;
  CHECK(t.template config<uint64_t>(0) == kBase / 512);
  CHECK(t.template config<uint32_t>(12) == 254);  // seg_max
  CHECK(t.template config<uint32_t>(20) == 512);
  CHECK(t.template config<uint8_t>(24) == 3);   // 4 KiB physical
  CHECK(t.template config<uint32_t>(40) == 1);  // max_discard_seg
  CHECK(t.template config<uint8_t>(56) == 1);
  CHECK((t.block->features() & (1u << 5)) == 0);
  BlockFixture<Bus> read_only(true);
  CHECK((read_only.block->features() & (1u << 5)) != 0);
  CHECK((read_only.block->features() & (1u << 13 | 1u << 14)) == 0);
}

TEST_CASE_TEMPLATE("block: reads, writes, flushes and the id", Bus, OnMmio, OnPci) {
  BlockFixture<Bus> t;
  t.start();
  CHECK(t.read(8, 4096) == slice(pattern(kBase, 1), 4096, 4096));
  CHECK(t.write(9, pattern(1024, 2)) == kOk);
  CHECK(t.last_written == 1);
  CHECK(t.read(9, 1024) == pattern(1024, 2));
  CHECK(t.request({kFlush, 0, 0}) == kOk);
  CHECK(t.request({kGetId}, 20, true) == kOk);
  CHECK(wire::as_text(t.guest_data(0, 7)) == std::string_view("disk-0\0", 7));
  CHECK(t.block->stats().reads == 2);
  CHECK(t.block->stats().writes == 1);
  CHECK(t.block->stats().flushes == 1);
  CHECK(t.block->stats().errors == 0);
  CHECK(t.files.read_file("base") == pattern(kBase, 1));
}

TEST_CASE("block: buffers cut in odd places") {
  Fixture t;
  t.start();
  (void)t.memory.write(kHeaders, Header{kIn, 0, 8});
  t.ring.describe_chain(0, {{kHeaders, 3},
                            {kHeaders + 3, 13},
                            {kData, 100, kWrite},
                            {kData + 100, 412, kWrite},
                            {kData + 512, 513, kWrite}});  // the last byte is the status
  t.ring.offer(0);
  t.transport->kick(0);
  CHECK(t.wait_used() == UsedElement{0, 1025});
  CHECK(t.guest_data(0, 1024) == slice(pattern(kBase, 1), 4096, 1024));
  uint8_t status = kUntouched;
  (void)t.memory.read(kData + 1024, status);
  CHECK(status == kOk);

  Header out{kOut, 0, 100};
  Data packed(16);
  std::memcpy(packed.data(), &out, sizeof out);
  const Data payload = pattern(512, 5);
  packed.insert(packed.end(), payload.begin(), payload.end());  // header and data in one buffer
  (void)t.memory.write_bytes(kData, packed);
  t.ring.describe_chain(0, {{kData, 528}, {kHeaders, 1, kWrite}});
  t.ring.set_interrupt_event(t.ring.seen_used);
  t.ring.offer(0);
  t.transport->kick(0);
  CHECK(t.wait_used() == UsedElement{0, 1});
  CHECK(t.read(100, 512) == payload);
}

TEST_CASE_TEMPLATE("block: many requests in flight, interrupts in batches", Bus, OnMmio, OnPci) {
  check_many_requests<Bus>(sys::Loop::Backend::plain);
  check_many_requests<Bus>(sys::Loop::Backend::automatic);
}

TEST_CASE("block: discard and write zeroes") {
  struct Range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
  };
  Fixture t;
  t.start();
  const auto send = [&](uint32_t type, const Range& range, uint32_t size = 16) {
    (void)t.memory.write(kData, range);
    return t.request({type, 0, 0}, size);
  };
  REQUIRE(t.write(16, pattern(4096, 3)) == kOk);
  CHECK(send(kWriteZeroes, {17, 2, 0}) == kOk);
  CHECK(t.read(16, 512) == slice(pattern(4096, 3), 0, 512));
  CHECK(t.read(17, 1024) == Data(1024));
  CHECK(send(kWriteZeroes, {16, 8, 1}) == kOk);
  CHECK(t.read(16, 4096) == Data(4096));
  CHECK(send(kDiscard, {16, 8, 0}) == kOk);
  CHECK(send(kDiscard, {16, 8, 1}) == kUnsupported);
  CHECK(send(kWriteZeroes, {16, 8, 2}) == kUnsupported);
  CHECK(send(kDiscard, {16, 8, 0}, 8) == kIoError);
  CHECK(send(kDiscard, {16, 8, 0}, 32) == kIoError);
  CHECK(send(kDiscard, {kBase / 512, 1, 0}) == kIoError);
  CHECK(send(kWriteZeroes, {UINT64_MAX, 1, 0}) == kIoError);
  CHECK(send(kWriteZeroes, {0, 0xffff'ffff, 0}) == kIoError);
  CHECK(send(kWriteZeroes, {0, 0, 0}) == kIoError);
}

TEST_CASE_TEMPLATE("block: what the driver did not negotiate is not served", Bus, OnMmio, OnPci) {
  BlockFixture<Bus> t;
  t.start(kFeatures);
  (void)t.memory.write_bytes(kData, Data(16));
  CHECK(t.request({kDiscard, 0, 0}, 16) == kUnsupported);
  CHECK(t.request({kWriteZeroes, 0, 0}, 16) == kUnsupported);
  CHECK(t.read(0, 512) == slice(pattern(kBase, 1), 0, 512));
}

TEST_CASE_TEMPLATE("block: a request without header or status needs a reset", Bus, OnMmio, OnPci) {
  for (const auto& buffers :
       {std::vector<Descriptor>{{kHeaders, 16}}, std::vector<Descriptor>{{kHeaders, 1, kWrite}},
        std::vector<Descriptor>{{kHeaders, 15}, {kHeaders + 16, 1, kWrite}}}) {
    BlockFixture<Bus> t;
    t.start();
    t.ring.describe_chain(0, buffers);
    t.ring.offer(0);
    t.transport->kick(0);
    CHECK(t.transport->needs_reset());
    CHECK(t.transport->idle());
    write_register(*t.transport, kStatus, 0);
    t.ring.wind_to(0);
    t.start();
    CHECK(t.read(0, 512) == slice(pattern(kBase, 1), 0, 512));
  }
}

TEST_CASE("block: a full host disk is the guest's I/O error, a count and one line") {
  Fixture t(false, std::make_unique<FullDisk>(std::move(*sys::Loop::create())));
  t.start();
  for (int i = 0; i < 3; ++i) {
    CHECK(t.write(0, pattern(512, 1)) == kIoError);
  }
  CHECK(t.block->stats().errors == 3);
  CHECK(t.block->stats().out_of_space == 3);
  CHECK(t.failures == std::vector{ENOSPC, ENOSPC, ENOSPC});
  REQUIRE(t.log.size() == 2);  // the first and the second: doublings
  CHECK(t.log[0].find("virtio block disk-0: No space left on device") == 0);
  CHECK(t.read(0, 512) == slice(pattern(kBase, 1), 0, 512));
}

TEST_CASE("block: what a full host disk has no room for waits until it has") {
  auto loop = std::make_unique<FullDisk>(std::move(*sys::Loop::create()));
  bool& full = loop->full;
  Fixture t(false, std::move(loop), vmm::WhenFull::hold);
  t.start();
  (void)t.memory.write_bytes(kData, pattern(512, 1));
  (void)t.memory.write(kData + 4096, std::array<uint64_t, 2>{20, 4});  // sector, count and flags
  t.offer(0, {kOut, 0, 9}, 512, false);
  t.offer(1, {kWriteZeroes, 0, 0}, 16, false);
  t.transport->kick(0);
  REQUIRE(run_until(*t.loop, [&] { return !t.block->check_held(); }));
  CHECK(t.block->check_held().error().code == ErrorCode::out_of_disk);
  run_for(*t.loop, 3 * BlockDevice::kRetryInterval);
  CHECK(t.ring.used_index() == 0);
  CHECK(t.status(0) == kUntouched);
  CHECK(t.log == std::vector<std::string>{
                     "virtio block disk-0: the host's disk is full; the guest waits for room"});

  full = false;
  for (int i = 0; i < 2; ++i) REQUIRE(t.wait_used());
  CHECK(t.status(0) == kOk);
  CHECK(t.status(1) == kOk);
  CHECK(t.block->check_held());
  CHECK(t.log.back() == "virtio block disk-0: there is room again");
  CHECK(t.failures.empty());
  CHECK(t.block->stats().errors == 0);
  CHECK(t.read(9, 512) == pattern(512, 1));
  CHECK(t.read(20, 2048) == Data(2048));
  CHECK(t.read(8, 512) == slice(pattern(kBase, 1), 4096, 512));
}

TEST_CASE("block: a flush that can never succeed is not held, nor is what came before it") {
  auto loop = std::make_unique<FullOnSync>(std::move(*sys::Loop::create()));
  bool& full = loop->full;
  Fixture t(false, std::move(loop), vmm::WhenFull::hold);
  t.start();
  SUBCASE("nothing was held") {
    full = false;
    CHECK(t.write(0, pattern(512, 1)) == kOk);
    CHECK(t.request({kFlush, 0, 0}) == kIoError);
    CHECK(t.request({kFlush, 0, 0}) == kIoError);
    CHECK(t.failures == std::vector{EIO, EIO});
    for (const std::string& line : t.log) CHECK(line.find("room") == std::string::npos);
  }
  SUBCASE("a write was") {
    t.offer(1, {kOut, 0, 9}, 512, false);
    t.transport->kick(0);
    REQUIRE(run_until(*t.loop, [&] { return !t.block->check_held(); }));
    CHECK(t.request({kFlush, 0, 0}) == kIoError);
    REQUIRE(t.wait_used());
    CHECK(t.status(1) == kIoError);
    CHECK(t.log.back() != "virtio block disk-0: there is room again");
  }
  CHECK(t.block->check_held());
}

TEST_CASE_TEMPLATE("block: a disk may go while requests wait for room", Bus, OnMmio, OnPci) {
  BlockFixture<Bus> t(false, std::make_unique<FullDisk>(std::move(*sys::Loop::create())),
                      vmm::WhenFull::hold);
  t.start();
  t.offer(0, {kOut, 0, 9}, 512, false);
  t.transport->kick(0);
  REQUIRE(run_until(*t.loop, [&] { return !t.block->check_held(); }));
  t.transport.reset();
  run_for(*t.loop, 2 * BlockDevice::kRetryInterval);
  CHECK(t.loop->io_in_flight() == 0);
}

TEST_CASE_TEMPLATE("block: reset and removal with I/O in flight", Bus, OnMmio, OnPci) {
  BlockFixture<Bus> t;
  t.start();
  for (uint16_t slot = 0; slot < 20; ++slot) {
    t.offer(slot, {slot % 2 == 0 ? kOut : kIn, 0, slot * 8ul + 1}, 512, slot % 2 != 0);
  }
  t.transport->kick(0);
  std::atomic<bool> done = false;
  std::thread vcpu([&] {
    write_register(*t.transport, kStatus, 0);
    done = true;
  });
  CHECK(run_until(*t.loop, [&] { return done.load(); }));
  vcpu.join();
  CHECK(read_register(*t.transport, kStatus) == 0);
  t.ring.wind_to(0);
  t.start();
  CHECK(t.read(0, 512) == slice(pattern(kBase, 1), 0, 512));

  t.offer(0, {kOut, 0, 0}, 512, false);
  t.offer(1, {kFlush, 0, 0}, 0, false);
  t.transport->kick(0);
  t.transport.reset();
  while (t.loop->io_in_flight() > 0) {
    t.loop->run_once(std::chrono::milliseconds(10));
  }
}

TEST_CASE_TEMPLATE("block: a snapshot in mid-life goes on, with the same disk only", Bus, OnMmio,
                   OnPci) {
  BlockFixture<Bus> t;
  t.start();
  CHECK(t.write(4, pattern(512, 4)) == kOk);
  for (uint16_t slot = 1; slot < 10; ++slot) {
    t.offer(slot, {kOut, 0, 100}, 512, false);
  }
  t.transport->kick(0);
  t.transport->pause();
  t.offer(10, {kIn, 0, 4}, 512, true);  // offered, its kick comes in the pause
  t.transport->kick(0);
  CHECK(run_until(*t.loop, [&] { return t.transport->idle(); }));
  std::optional<bool> flushed;
  t.transport->flush([&](Result<void> result) { flushed = result.has_value(); });
  CHECK(run_until(*t.loop, [&] { return flushed.has_value(); }));
  CHECK(flushed == true);
  state::Writer out;
  REQUIRE(t.transport->save(out, 0));
  const wire::Bytes bytes = out.finish();
  const auto reader = state::Reader::parse(bytes);
  REQUIRE(reader);

  t.renew();  // the same files, a new worker
  REQUIRE(t.transport->restore(*reader, 0));
  t.transport->resume();
  for (int i = 0; i < 9; ++i) {
    REQUIRE(t.wait_used());
  }
  CHECK(t.wait_used() == UsedElement{30, 513});
  CHECK(t.guest_data(10, 512) == pattern(512, 4));
  CHECK(t.write(5, pattern(512, 9)) == kOk);

  t.files.write_file("base", pattern(kBase / 2, 1));
  t.names = {"base", "other"};
  t.renew();
  CHECK(t.transport->restore(*reader, 0).error().code == ErrorCode::corrupt);
}
