// virtio-blk (virtio 1.2 §5.2) over a DiskStack: one queue, many requests in flight, the guest's
// buffers handed to the disk as they are.
//
// An error is the end of most guests' file systems. So what the host has no room for need not fail:
// it may be held, and tried again until there is room.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "vmm/disk/disk_stack.hpp"
#include "vmm/virtio/device.hpp"

namespace microvm::vmm {

// virtio 1.2 §5.2.4
struct BlockConfig {
  uint64_t capacity_sectors;
  uint32_t size_max;
  uint32_t seg_max;
  uint16_t cylinders;
  uint8_t heads;
  uint8_t sectors;
  uint32_t block_bytes;
  uint8_t physical_block_exp;
  uint8_t alignment_offset;
  uint16_t min_io_blocks;
  uint32_t optimal_io_blocks;
  uint8_t writeback;
  uint8_t unused0;
  uint16_t num_queues;
  uint32_t max_discard_sectors;
  uint32_t max_discard_segments;
  uint32_t discard_alignment_sectors;
  uint32_t max_write_zeroes_sectors;
  uint32_t max_write_zeroes_segments;
  uint8_t write_zeroes_may_unmap;
  uint8_t unused1[3];
};
static_assert(sizeof(BlockConfig) == 60 + 4);

struct BlockStats {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t flushes = 0;
  uint64_t errors = 0;        // requests the host could not do
  uint64_t out_of_space = 0;  // of them, because the host's disk is full
};

enum class WhenFull { fail, hold };

class BlockDevice final : public Device {
 public:
  static constexpr DeviceKind kKind{DeviceType::block, "block", 1, 1};
  static constexpr uint16_t kQueueSize = 256;
  static constexpr std::chrono::milliseconds kRetryInterval{500};

  // The host's errno of a request it could not do; on the loop's thread, before the guest sees it.
  using ErrorSink = std::function<void(int error)>;

  // `serial`: what the guest sees in /sys/block/vdX/serial, at most 20 bytes. Both sinks may be
  // empty.
  BlockDevice(std::unique_ptr<DiskStack> disk, WhenFull when_full, std::string serial,
              base::LogSink log, ErrorSink failed = {});
  ~BlockDevice() override;

  // Loop's thread.
  [[nodiscard]] const BlockStats& stats() const noexcept { return stats_; }

  [[nodiscard]] const DeviceKind& kind() const override { return kKind; }
  [[nodiscard]] std::span<const uint16_t> queue_sizes() const override;
  [[nodiscard]] uint64_t features() const override;
  [[nodiscard]] std::span<const std::byte> config() const override;
  void activate(DeviceHost& host) override { host_ = &host; }
  void process(uint16_t queue) override;
  void reset() override { host_ = nullptr; }
  void flush(FlushDone done) override;
  [[nodiscard]] Result<void> check_held() const override;
  [[nodiscard]] wire::Bytes save() const override;
  [[nodiscard]] Result<void> restore(wire::ByteView body) override;

 private:
  struct Request;

  Request& take_request();
  void begin(Request& request);
  void begin_transfer(Request& request, bool write);
  void begin_range(Request& request);
  void begin_flush(Request& request);
  // What touches the disk: begun once, or again after it was held.
  void submit(Request& request);
  void get_id(Request& request);
  void answer(Request& request, uint8_t status, uint32_t data_bytes);
  void disk_done(Request& request, int error);
  void hold(Request& request);
  void retry();
  void release(Request& request, int error);
  void say(const std::string& what) const;
  void note_error(int error);

  const std::unique_ptr<DiskStack> disk_;
  const WhenFull when_full_;
  const std::string serial_;
  const base::LogSink log_;
  const ErrorSink failed_;
  BlockConfig config_{};
  DeviceHost* host_ = nullptr;
  BlockStats stats_;
  std::vector<std::unique_ptr<Request>> requests_;
  std::vector<Request*> free_requests_;
  size_t held_ = 0;
  std::vector<Request*> retries_;  // of them, those that are not at the disk again
  std::optional<sys::Loop::TimerId> retry_timer_;
};

}  // namespace microvm::vmm
