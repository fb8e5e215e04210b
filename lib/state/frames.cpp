#include "state/frames.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

#include "base/checked.hpp"
#include "state/crc32c.hpp"
#include "state/format_version.hpp"
#include "state/memory_file.hpp"
#include "sys/file.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kMagic = "MVMFRAME";
constexpr uint32_t kFramesVersion = 1;
constexpr size_t kHeaderBytes = 40;
constexpr uint64_t kMaxIndexBytes = kMaxMemoryBytes / kMinFrameBytes * FrameEntry::kEncodedBytes;

base::Failure corrupt(const std::string& what) {
  return base::fail(ErrorCode::corrupt, "packed memory: " + what);
}

struct Header {
  uint32_t frame_bytes = 0;
  uint64_t raw_bytes = 0;
  uint64_t index_offset = 0;
  uint32_t index_checksum = 0;

  [[nodiscard]] wire::Bytes encode() const {
    wire::ByteWriter out;
    out.put_bytes(wire::as_bytes(kMagic));
    out.put(kFramesVersion);
    out.put(frame_bytes);
    out.put(raw_bytes);
    out.put(index_offset);
    out.put(index_checksum);
    out.put(crc32c(out.bytes()));
    return out.take();
  }
};
static_assert(kHeaderBytes == kMagic.size() + 4 * sizeof(uint32_t) + 2 * sizeof(uint64_t));

Result<Header> decode_header(wire::ByteView bytes) {
  wire::ByteReader in(bytes);
  Header header;
  if (wire::as_text(in.get_bytes(kMagic.size())) != kMagic) return corrupt("not a packed memory");
  const auto version = in.get<uint32_t>();
  header.frame_bytes = in.get<uint32_t>();
  header.raw_bytes = in.get<uint64_t>();
  header.index_offset = in.get<uint64_t>();
  header.index_checksum = in.get<uint32_t>();
  if (in.get<uint32_t>() != crc32c(bytes.first(kHeaderBytes - sizeof(uint32_t)))) {
    return corrupt("header checksum is wrong");
  }
  if (auto ok = check_version("packed memory", version, kFramesVersion); !ok) {
    return base::fail(ok.error());
  }
  if (!valid_frame_bytes(header.frame_bytes) || header.raw_bytes > kMaxMemoryBytes ||
      header.raw_bytes % kPageBytes != 0) {
    return corrupt("bad sizes in the header");
  }
  return header;
}

// Compresses frames of the raw file and appends them to the packed one, from several threads.
class Packer {
 public:
  Packer(int raw_fd, int packed_fd, uint64_t raw_bytes, const PackOptions& options)
      : raw_fd_(raw_fd), packed_fd_(packed_fd), raw_bytes_(raw_bytes), options_(options) {}

  Result<PackResult> run() {
    const size_t count = frame_count_for(raw_bytes_, options_.frame_bytes);
    entries_.resize(count);
    has_data_.resize(count);
    if (auto ok = mark_frames_with_data(); !ok) return base::fail(ok.error());
    const auto done = for_each_frame(count, options_.threads, [this] { return make_work(); });
    if (!done) return base::fail(done.error());
    return write_index();
  }

 private:
  Result<void> mark_frames_with_data() {
    return sys::for_each_data_range(raw_fd_, [&](uint64_t offset, uint64_t length) -> Result<void> {
      const uint64_t last = (offset + length - 1) / options_.frame_bytes;
      for (uint64_t i = offset / options_.frame_bytes; i <= last && i < entries_.size(); ++i) {
        has_data_[i] = true;
      }
      return {};
    });
  }

  FrameWork make_work() {
    auto encoder = std::make_shared<FrameEncoder>(options_.frame_bytes, options_.zstd_level);
    return [this, encoder](size_t frame) { return pack(frame, *encoder); };
  }

  Result<void> pack(size_t frame, FrameEncoder& encoder) {
    if (!has_data_[frame]) return {};
    if (options_.may_go_on != nullptr) {
      if (auto ok = (*options_.may_go_on)(); !ok) return ok;
    }
    const uint64_t offset = uint64_t{frame} * options_.frame_bytes;
    const auto raw =
        encoder.raw().first(std::min<uint64_t>(options_.frame_bytes, raw_bytes_ - offset));
    if (auto got = sys::pread_full(raw_fd_, raw, offset); !got) return got;
    if (is_zero(raw)) return {};
    const auto entry = encoder.append(raw, packed_fd_, end_);
    if (!entry) return base::fail(entry.error());
    entries_[frame] = *entry;
    return {};
  }

  Result<PackResult> write_index() {
    wire::ByteWriter index;
    for (const FrameEntry& entry : entries_) entry.encode(index);
    const Header header{options_.frame_bytes, raw_bytes_, end_, crc32c(index.bytes())};
    if (const auto put = sys::pwrite_full(packed_fd_, index.bytes(), end_); !put) {
      return base::fail(put.error());
    }
    if (const auto put = sys::pwrite_full(packed_fd_, header.encode(), 0); !put) {
      return base::fail(put.error());
    }
    return PackResult{raw_bytes_, end_ + index.bytes().size()};
  }

  int raw_fd_;
  int packed_fd_;
  uint64_t raw_bytes_;
  PackOptions options_;
  std::vector<bool> has_data_;       // not written any more when the threads start
  std::vector<FrameEntry> entries_;  // stays empty where the frame is all zero
  std::atomic<uint64_t> end_{kHeaderBytes};
};

}  // namespace

Result<PackResult> pack_memory(int raw_fd, int packed_fd, const PackOptions& options) {
  const auto raw_bytes = regular_file_size(raw_fd, "packed memory");
  if (!raw_bytes) return base::fail(raw_bytes.error());
  const auto packed_bytes = regular_file_size(packed_fd, "packed memory");
  if (!packed_bytes) return base::fail(packed_bytes.error());
  if (*packed_bytes != 0) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: the output is not empty");
  }
  if (!valid_frame_bytes(options.frame_bytes) || *raw_bytes % kPageBytes != 0 ||
      *raw_bytes > kMaxMemoryBytes) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: bad frame or memory size");
  }
  return Packer(raw_fd, packed_fd, *raw_bytes, options).run();
}

Result<FrameReader> FrameReader::open(int packed_fd) {
  const auto size = regular_file_size(packed_fd, "packed memory");
  if (!size) return base::fail(size.error());
  if (*size < kHeaderBytes) return corrupt("shorter than its header");
  wire::Bytes bytes(kHeaderBytes);
  if (const auto got = sys::pread_full(packed_fd, bytes, 0); !got) return base::fail(got.error());
  const auto header = decode_header(bytes);
  if (!header) return base::fail(header.error());

  FrameReader reader;
  reader.fd_ = packed_fd;
  reader.frame_bytes_ = header->frame_bytes;
  reader.raw_bytes_ = header->raw_bytes;
  const uint64_t index_bytes =
      frame_count_for(header->raw_bytes, header->frame_bytes) * FrameEntry::kEncodedBytes;
  // The index is as long as the file says it is, so what is allocated is bounded by the file.
  if (index_bytes > kMaxIndexBytes || header->index_offset < kHeaderBytes ||
      !base::range_fits(header->index_offset, index_bytes, *size) ||
      header->index_offset + index_bytes != *size) {
    return corrupt("the index is not where the header says; the file was cut or changed");
  }
  bytes.resize(index_bytes);
  if (const auto got = sys::pread_full(packed_fd, bytes, header->index_offset); !got) {
    return base::fail(got.error());
  }
  if (crc32c(bytes) != header->index_checksum) return corrupt("index checksum is wrong");
  if (const auto loaded = reader.load_index(bytes, header->index_offset); !loaded) {
    return base::fail(loaded.error());
  }
  return reader;
}

Result<void> FrameReader::load_index(wire::ByteView bytes, uint64_t index_offset) {
  index_.resize(bytes.size() / FrameEntry::kEncodedBytes);
  wire::ByteReader in(bytes);
  for (FrameEntry& entry : index_) {
    entry = FrameEntry::decode(in);
    if (entry.stored_bytes != 0 && !entry.fits(kHeaderBytes, index_offset, frame_bytes_)) {
      return corrupt("a frame lies outside of the file");
    }
  }
  return {};
}

uint32_t FrameReader::frame_size(size_t frame) const {
  const uint64_t offset = uint64_t{frame} * frame_bytes_;
  return static_cast<uint32_t>(std::min<uint64_t>(frame_bytes_, raw_bytes_ - offset));
}

Result<void> FrameReader::read(size_t frame, std::span<std::byte> out) const {
  if (frame >= index_.size() || out.size() != frame_size(frame)) {
    return base::fail(ErrorCode::invalid_argument, "packed memory: no such frame");
  }
  const FrameEntry& entry = index_[frame];
  if (entry.stored_bytes == 0) {
    std::ranges::fill(out, std::byte{0});
    return {};
  }
  if (const auto got = FrameDecoder().read(fd_, entry, out); !got) {
    return base::fail(got.error().code,
                      "packed memory: frame " + std::to_string(frame) + ": " + got.error().message);
  }
  return {};
}

Result<uint64_t> unpack_memory(int packed_fd, int raw_fd, unsigned threads,
                               const std::function<Result<void>()>& may_go_on) {
  const auto reader = FrameReader::open(packed_fd);
  if (!reader) return base::fail(reader.error());
  if (const auto made = make_sparse(raw_fd, reader->raw_bytes()); !made) {
    return base::fail(made.error());
  }
  const auto make_work = [&]() -> FrameWork {
    auto buffer = std::make_shared<std::vector<std::byte>>(reader->frame_bytes());
    return [&reader, &may_go_on, raw_fd, buffer](size_t frame) -> Result<void> {
      if (reader->is_hole(frame)) return {};
      if (may_go_on) {
        if (auto ok = may_go_on(); !ok) return ok;
      }
      const auto raw = std::span(*buffer).first(reader->frame_size(frame));
      if (auto got = reader->read(frame, raw); !got) return got;
      const auto put = write_sparse(raw_fd, uint64_t{frame} * reader->frame_bytes(), raw);
      if (!put) return base::fail(put.error());
      return {};
    };
  };
  if (const auto done = for_each_frame(reader->frame_count(), threads, make_work); !done) {
    return base::fail(done.error());
  }
  return reader->raw_bytes();
}

}  // namespace microvm::state
