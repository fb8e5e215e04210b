// A block device over a layered disk, driven by the mock of a driver.
#pragma once

#include <doctest/doctest.h>

#include <array>

#include "vmm/disk/disk_files.hpp"
#include "vmm/virtio/block.hpp"
#include "vmm/virtio/mock_driver.hpp"

namespace microvm::test {

using namespace vmm::mmio;
using vmm::BlockDevice;

inline constexpr size_t kBase = 1u << 20;
inline constexpr uint64_t kHeaders = 0x100000;  // one page per request: header, then status
inline constexpr uint64_t kData = 0x200000;     // one page per request
inline constexpr uint64_t kFeatures = vmm::kFeatureVersion1 | vmm::kFeatureEventIdx;
inline constexpr uint64_t kRangeFeatures = 1u << 13 | 1u << 14;  // DISCARD, WRITE_ZEROES
inline constexpr uint32_t kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11,
                          kWriteZeroes = 13;
inline constexpr uint8_t kOk = 0, kIoError = 1, kUnsupported = 2, kUntouched = 0xee;

struct BlockHeader {
  uint32_t type = 0;
  uint32_t reserved = 0;
  uint64_t sector = 0;
};

// Behind either transport.
template <class Bus>
struct BlockFixture : Bus {
  using Bus::irq;
  using Bus::transport;
  explicit BlockFixture(bool read_only = false, std::unique_ptr<sys::Loop> given = nullptr,
                        vmm::WhenFull full = vmm::WhenFull::fail)
      : when_full(full), loop(given ? std::move(given) : std::move(*sys::Loop::create())) {
    files.write_file("base", pattern(kBase, 1));
    names = read_only ? std::vector<std::string>{"base"} : std::vector<std::string>{"base", "top"};
    options.read_only = read_only;
    renew();
  }
  ~BlockFixture() { transport.reset(); }
  void renew() {
    transport.reset();
    auto disk = vmm::DiskStack::open(*loop, files.open_all(names, options.read_only), options);
    REQUIRE(disk);
    auto made = std::make_unique<BlockDevice>(
        std::move(*disk), when_full, "disk-0",
        [this](base::LogLevel, std::string_view line) { log.emplace_back(line); },
        [this](int error) { failures.push_back(error); });
    block = made.get();
    this->put(memory, *loop, std::move(made), nullptr);
  }
  void start() { start(kFeatures | (options.read_only ? 0 : kRangeFeatures)); }
  void start(uint64_t features) {
    start_driver(*transport, features, {&ring});
    REQUIRE(read_register(*transport, kStatus) == kRunning);
  }

  // A request of three descriptors, from 3 * slot on, with its data page.
  void offer(uint16_t slot, const BlockHeader& header, uint32_t data_bytes, bool device_writes) {
    const uint64_t header_at = kHeaders + slot * 4096ul;
    (void)memory.write(header_at, header);
    (void)memory.write(header_at + 16, kUntouched);
    std::vector<Descriptor> buffers{{header_at, 16}};
    const auto flags = static_cast<uint16_t>(device_writes ? kWrite : 0);
    if (data_bytes > 0) buffers.push_back({kData + slot * 4096ul, data_bytes, flags});
    buffers.push_back({header_at + 16, 1, kWrite});
    const auto head = static_cast<uint16_t>(slot * 3);
    ring.describe_chain(head, buffers);
    ring.set_interrupt_event(ring.seen_used);
    ring.offer(head);
  }
  [[nodiscard]] uint8_t status(uint16_t slot) const {
    uint8_t value = 0;
    (void)memory.read(kHeaders + slot * 4096ul + 16, value);
    return value;
  }
  std::optional<UsedElement> wait_used() {
    run_until(*loop, [&] { return ring.used_index() != ring.seen_used; });
    return ring.take_used();
  }
  // One request from start to end; its status.
  uint8_t request(const BlockHeader& header, uint32_t data_bytes = 0, bool device_writes = false) {
    offer(0, header, data_bytes, device_writes);
    transport->kick(0);
    const auto used = wait_used();
    REQUIRE(used);
    last_written = used->length;
    return status(0);
  }
  uint8_t write(uint64_t sector, const Data& data) {
    (void)memory.write_bytes(kData, data);
    return request({kOut, 0, sector}, static_cast<uint32_t>(data.size()));
  }
  Data read(uint64_t sector, uint32_t size) {
    if (request({kIn, 0, sector}, size, true) != kOk) return {};
    CHECK(last_written == size + 1);
    return guest_data(0, size);
  }
  [[nodiscard]] Data guest_data(uint16_t slot, size_t size) const {
    Data data(size);
    (void)memory.read_bytes(kData + slot * 4096ul, data);
    return data;
  }
  template <class T>
  T config(uint64_t offset) {
    T value{};
    transport->read(Bus::kConfigAt + offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  vmm::WhenFull when_full;
  vmm::GuestMemory memory = make_memory();
  DiskFiles files;
  std::unique_ptr<sys::Loop> loop;
  MockRing ring{memory, 0x10000, 256};
  std::vector<std::string> names;
  vmm::DiskOptions options;
  std::vector<std::string> log;
  std::vector<int> failures;
  BlockDevice* block = nullptr;
  uint32_t last_written = 0;
};

inline Data slice(const Data& data, size_t offset, size_t size) {
  const auto begin = data.begin() + static_cast<ptrdiff_t>(offset);
  return {begin, begin + static_cast<ptrdiff_t>(size)};
}

}  // namespace microvm::test
