#include "vmm/virtio/block.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "vmm/virtio/block_state.hpp"
#include "vmm/virtio/chain_bytes.hpp"

namespace microvm::vmm {
namespace {

constexpr std::array<uint16_t, 1> kBlockQueueSizes{BlockDevice::kQueueSize};

// virtio 1.2 §5.2.3
constexpr uint64_t kSegMax = 1u << 2;
constexpr uint64_t kReadOnly = 1u << 5;
constexpr uint64_t kBlkSize = 1u << 6;
constexpr uint64_t kFlush = 1u << 9;
constexpr uint64_t kTopology = 1u << 10;
constexpr uint64_t kDiscard = 1u << 13;
constexpr uint64_t kWriteZeroes = 1u << 14;

// virtio 1.2 §5.2.6
constexpr uint32_t kTypeIn = 0;
constexpr uint32_t kTypeOut = 1;
constexpr uint32_t kTypeFlush = 4;
constexpr uint32_t kTypeGetId = 8;
constexpr uint32_t kTypeDiscard = 11;
constexpr uint32_t kTypeWriteZeroes = 13;
constexpr uint8_t kStatusOk = 0;
constexpr uint8_t kStatusIoError = 1;
constexpr uint8_t kStatusUnsupported = 2;
constexpr uint32_t kUnmap = 1;
constexpr size_t kIdBytes = 20;

struct RequestHeader {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

struct RangeSegment {
  uint64_t sector;
  uint32_t sectors;
  uint32_t flags;
};

// Descriptors may name the same memory again and again, so the guest's memory is no bound, and each
// fragment of the disk is a file operation of its own. Linux asks for 1.25 MiB at once, newer
// kernels for at most 4 MiB.
constexpr uint32_t kMaxTransferBytes = 4u << 20;
// Deallocating runs on the loop's thread: bounds how long one request may keep it.
constexpr uint32_t kMaxDiscardSectors = (128u << 20) / kDiskSectorBytes;
constexpr uint32_t kMaxWriteZeroesSectors = (16u << 20) / kDiskSectorBytes;

BlockConfig make_config(const DiskStack& disk) {
  const uint32_t granule_sectors = disk.granule_bytes() / kDiskSectorBytes;
  BlockConfig config{};
  config.capacity_sectors = disk.size_bytes() / kDiskSectorBytes;
  config.seg_max = BlockDevice::kQueueSize - 2;  // a chain also has the header and the status
  config.block_bytes = kDiskSectorBytes;
  // Writes of whole granules need no copy-up, so say how large they are.
  config.physical_block_exp = static_cast<uint8_t>(std::countr_zero(granule_sectors));
  config.min_io_blocks = static_cast<uint16_t>(granule_sectors);
  config.writeback = 1;
  config.num_queues = 1;
  if (!disk.read_only()) {
    config.max_discard_sectors = kMaxDiscardSectors;
    config.max_discard_segments = 1;
    config.discard_alignment_sectors = granule_sectors;
    config.max_write_zeroes_sectors = kMaxWriteZeroesSectors;
    config.max_write_zeroes_segments = 1;
    config.write_zeroes_may_unmap = 1;
  }
  return config;
}

bool is_out_of_space(int error) {
  return error == ENOSPC || error == EDQUOT;
}

}  // namespace

struct BlockDevice::Request {
  Chain chain;
  RequestHeader header{};
  RangeSegment range{};
  std::byte* status = nullptr;
  bool held = false;
};

BlockDevice::BlockDevice(std::unique_ptr<DiskStack> disk, WhenFull when_full, std::string serial,
                         base::LogSink log, ErrorSink failed)
    : disk_(std::move(disk)),
      when_full_(when_full),
      serial_(std::move(serial)),
      log_(std::move(log)),
      failed_(std::move(failed)),
      config_(make_config(*disk_)) {}

BlockDevice::~BlockDevice() {
  if (retry_timer_) disk_->loop().cancel(*retry_timer_);
}

std::span<const uint16_t> BlockDevice::queue_sizes() const {
  return kBlockQueueSizes;
}

uint64_t BlockDevice::features() const {
  const uint64_t always = kSegMax | kBlkSize | kFlush | kTopology;
  return always | (disk_->read_only() ? kReadOnly : kDiscard | kWriteZeroes);
}

std::span<const std::byte> BlockDevice::config() const {
  return std::as_bytes(std::span(&config_, 1)).first(60);  // as far as our features reach
}

BlockDevice::Request& BlockDevice::take_request() {
  if (free_requests_.empty()) {
    free_requests_.push_back(requests_.emplace_back(std::make_unique<Request>()).get());
  }
  return *free_requests_.back();
}

void BlockDevice::process(uint16_t queue) {
  while (true) {
    Request& request = take_request();
    if (!host_->pop(queue, request.chain)) return;
    free_requests_.pop_back();
    begin(request);
  }
}

// Buffers may be cut anywhere (virtio 1.2 §2.7.4.1): the header is the first 16 readable bytes, the
// status the last writable one, the data what is between.
void BlockDevice::begin(Request& request) {
  request.status = take_last_byte(request.chain);
  if (request.status == nullptr || !take_front(request.chain, request.header)) {
    // Given back all the same: a reset and a snapshot wait for what is in flight.
    host_->fail("a request without header or status");
    host_->push(0, request.chain.head, 0);
    free_requests_.push_back(&request);
    return;
  }
  switch (request.header.type) {
    case kTypeIn:
      return begin_transfer(request, false);
    case kTypeOut:
      return begin_transfer(request, true);
    case kTypeFlush:
      return begin_flush(request);
    case kTypeGetId:
      return get_id(request);
    case kTypeDiscard:
    case kTypeWriteZeroes:
      return begin_range(request);
    default:
      return answer(request, kStatusUnsupported, 0);
  }
}

void BlockDevice::begin_transfer(Request& request, bool write) {
  const uint32_t bytes = write ? request.chain.readable_bytes : request.chain.writable_bytes;
  const uint64_t sector = request.header.sector;
  if (bytes % kDiskSectorBytes != 0 || bytes > kMaxTransferBytes ||
      sector >= config_.capacity_sectors || (write && disk_->read_only())) {
    return answer(request, kStatusIoError, 0);
  }
  ++(write ? stats_.writes : stats_.reads);
  submit(request);
}

void BlockDevice::begin_flush(Request& request) {
  ++stats_.flushes;
  submit(request);
}

void BlockDevice::begin_range(Request& request) {
  const bool discard = request.header.type == kTypeDiscard;
  if (!host_->has_feature(discard ? kDiscard : kWriteZeroes)) {
    return answer(request, kStatusUnsupported, 0);
  }
  RangeSegment& range = request.range;
  if (disk_->read_only() || !take_front(request.chain, range) ||
      request.chain.readable_bytes != 0) {
    return answer(request, kStatusIoError, 0);
  }
  if ((range.flags & ~(discard ? 0 : kUnmap)) != 0) return answer(request, kStatusUnsupported, 0);
  const uint32_t most = discard ? kMaxDiscardSectors : kMaxWriteZeroesSectors;
  if (range.sectors > most || range.sector >= config_.capacity_sectors) {
    return answer(request, kStatusIoError, 0);
  }
  request.chain.writable_bytes = 0;
  submit(request);
}

void BlockDevice::submit(Request& request) {
  const auto done = [this, &request](int error) { disk_done(request, error); };
  const uint64_t offset = request.header.sector * kDiskSectorBytes;
  const uint64_t range_offset = request.range.sector * kDiskSectorBytes;
  const uint64_t range_bytes = uint64_t{request.range.sectors} * kDiskSectorBytes;
  switch (request.header.type) {
    case kTypeIn:
      return disk_->read(request.chain.writable, offset, done);
    case kTypeOut:
      return disk_->write(request.chain.readable, offset, done);
    case kTypeDiscard:
      return disk_->discard(range_offset, range_bytes, done);
    case kTypeWriteZeroes:
      return disk_->write_zeroes(range_offset, range_bytes, done);
    default:
      return disk_->flush(done);
  }
}

void BlockDevice::get_id(Request& request) {
  std::array<std::byte, kIdBytes> id{};
  std::memcpy(id.data(), serial_.data(), std::min(serial_.size(), id.size()));
  answer(request, kStatusOk, copy_to(request.chain.writable, id));
}

void BlockDevice::disk_done(Request& request, int error) {
  if (is_out_of_space(error) && when_full_ == WhenFull::hold) return hold(request);
  release(request, error);
  if (error != 0) note_error(error);
  const bool read = request.header.type == kTypeIn;
  const auto guard = host_->lock();
  answer(request, error == 0 ? kStatusOk : kStatusIoError,
         read && error == 0 ? request.chain.writable_bytes : 0);
  host_->publish_soon(0);
}

void BlockDevice::hold(Request& request) {
  if (!std::exchange(request.held, true) && ++held_ == 1) {
    say("the host's disk is full; the guest waits for room");
  }
  retries_.push_back(&request);
  if (!retry_timer_) retry_timer_ = disk_->loop().after(kRetryInterval, [this] { retry(); });
}

void BlockDevice::retry() {
  retry_timer_.reset();
  for (Request* request : std::exchange(retries_, {})) submit(*request);
}

void BlockDevice::release(Request& request, int error) {
  if (!std::exchange(request.held, false) || --held_ > 0) return;
  if (error == 0) say("there is room again");
}

void BlockDevice::say(const std::string& what) const {
  if (log_) log_(base::LogLevel::error, "virtio block " + serial_ + ": " + what);
}

void BlockDevice::answer(Request& request, uint8_t status, uint32_t data_bytes) {
  *request.status = std::byte{status};
  host_->push(0, request.chain.head, data_bytes + 1);
  free_requests_.push_back(&request);
}

// One line each time the count doubles: a full host disk fails requests by the thousand.
void BlockDevice::note_error(int error) {
  ++stats_.errors;
  if (is_out_of_space(error)) ++stats_.out_of_space;
  // A range beyond the disk is the guest's own mistake.
  if (failed_ && error != EINVAL) failed_(error);
  if (!std::has_single_bit(stats_.errors)) return;
  say(std::generic_category().message(error) + " (" + std::to_string(stats_.errors) +
      " failed requests so far); the guest sees an I/O error");
}

void BlockDevice::flush(FlushDone done) {
  disk_->flush([done = std::move(done)](int error) {
    if (error == 0) return done({});
    done(base::fail_errno("flush disk", error));
  });
}

Result<void> BlockDevice::check_held() const {
  if (held_ == 0) return {};
  return base::fail(ErrorCode::out_of_disk, "the host's disk is full: " + std::to_string(held_) +
                                                " requests of the guest wait for room");
}

wire::Bytes BlockDevice::save() const {
  return BlockState{.capacity_bytes = disk_->size_bytes(), .read_only = disk_->read_only()}
      .encode();
}

Result<void> BlockDevice::restore(wire::ByteView body) {
  const auto state = BlockState::decode(body);
  if (!state) return base::fail(state.error());
  if (state->capacity_bytes == disk_->size_bytes() && state->read_only == disk_->read_only()) {
    return {};
  }
  return base::fail(ErrorCode::corrupt,
                    "virtio block state: the snapshot was made with a disk of " +
                        std::to_string(state->capacity_bytes) + " bytes, this one has " +
                        std::to_string(disk_->size_bytes()));
}

}  // namespace microvm::vmm
