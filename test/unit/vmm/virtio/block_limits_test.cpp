// What a request may not reach or be.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "vmm/virtio/block_fixture.hpp"

using namespace microvm;
using namespace microvm::test;

namespace {

using Fixture = BlockFixture<OnMmio>;
using Header = BlockHeader;

struct Range {
  uint64_t sector;
  uint32_t sectors;
  uint32_t flags = 0;
};

}  // namespace

TEST_CASE("block: what the disk or the standard does not allow gets a status, not a reset") {
  Fixture t;
  t.start();
  CHECK(t.request({kIn, 0, kBase / 512}, 512, true) == kIoError);
  CHECK(t.request({kIn, 0, kBase / 512 - 1}, 1024, true) == kIoError);
  CHECK(t.request({kIn, 0, UINT64_MAX}, 512, true) == kIoError);
  CHECK(t.request({kOut, 0, UINT64_MAX / 512}, 512) == kIoError);
  CHECK(t.request({kIn, 0, 0}, 100, true) == kIoError);
  CHECK(t.request({kOut, 0, 0}, 0) == kIoError);
  CHECK(t.request({77, 0, 0}, 512) == kUnsupported);
  CHECK(t.request({kGetId}, 5, true) == kOk);
  CHECK(t.last_written == 6);
  CHECK_FALSE(t.transport->needs_reset());

  Fixture read_only(true);
  read_only.start();
  CHECK(read_only.write(0, pattern(512, 1)) == kIoError);
  CHECK(read_only.request({kDiscard}, 16) == kUnsupported);  // it was not offered
  CHECK(read_only.read(0, 512) == slice(pattern(kBase, 1), 0, 512));
  CHECK(read_only.request({kFlush}) == kOk);
}

// Sectors times 512 wrap at 2^55: a place far beyond the end becomes one near the start.
TEST_CASE("block: no request reaches past the end, by whatever sum") {
  constexpr uint64_t kSectors = kBase / 512;
  std::vector<Range> beyond = {{kSectors - 1, 2},  {kSectors - 7, 8}, {kSectors, 1},
                               {kSectors + 1, 1},  {UINT64_MAX, 1},   {UINT64_MAX - 7, 8},
                               {UINT64_MAX - 3, 8}};
  for (const unsigned bit : {32u, 54u, 55u, 56u, 63u}) {
    const uint64_t wrap = uint64_t{1} << bit;
    for (const uint64_t sector : {wrap - 8, wrap - 1, wrap, wrap + 1, wrap + kSectors - 8}) {
      beyond.push_back({sector, 8});
    }
  }
  Fixture t;
  t.start();
  const Data before = t.files.read_file("top");
  for (const Range& range : beyond) {
    INFO("sector ", range.sector, ", ", range.sectors, " of them");
    const uint32_t bytes = range.sectors * 512;
    CHECK(t.request({kIn, 0, range.sector}, bytes, true) == kIoError);
    CHECK(t.last_written == 1);
    (void)t.memory.write_bytes(kData, pattern(bytes, 9));
    CHECK(t.request({kOut, 0, range.sector}, bytes) == kIoError);
    for (const uint32_t type : {kDiscard, kWriteZeroes}) {
      (void)t.memory.write(kData, range);
      CHECK(t.request({type, 0, 0}, 16) == kIoError);
    }
  }
  CHECK(t.request({kFlush, 0, 0}) == kOk);
  CHECK(t.files.read_file("top") == before);
  CHECK(t.read(0, 4096) == slice(pattern(kBase, 1), 0, 4096));
  CHECK(t.read(kSectors - 8, 4096) == slice(pattern(kBase, 1), kBase - 4096, 4096));
  CHECK(t.failures.empty());  // the guest's own mistake, not the host's
  CHECK_FALSE(t.transport->needs_reset());
}

TEST_CASE("block: a transfer has a largest size, however little memory it names") {
  constexpr uint32_t kMost = 4u << 20;
  constexpr uint32_t kPiece = 32 * 1024;
  Fixture t;
  t.names = {"base", "large"};
  t.options.format_bytes = 2 * kMost;
  t.renew();
  t.start();
  const auto transfer = [&](uint32_t type, uint32_t bytes) {
    (void)t.memory.write(kHeaders, Header{type, 0, 0});
    (void)t.memory.write(kHeaders + 16, kUntouched);
    std::vector<Descriptor> buffers{{kHeaders, 16}};
    const auto flags = static_cast<uint16_t>(type == kIn ? kWrite : 0);
    for (uint32_t left = bytes; left > 0; left -= buffers.back().length) {
      buffers.push_back({kData, std::min(left, kPiece), flags});
    }
    buffers.push_back({kHeaders + 16, 1, kWrite});
    t.ring.describe_chain(0, buffers);
    t.ring.set_interrupt_event(t.ring.seen_used);
    t.ring.offer(0);
    t.transport->kick(0);
    REQUIRE(t.wait_used());
    return t.status(0);
  };
  for (const uint32_t type : {kIn, kOut}) {
    CHECK(transfer(type, kMost) == kOk);
    CHECK(transfer(type, kMost + 512) == kIoError);
  }
}
