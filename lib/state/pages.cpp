#include "state/pages.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/checked.hpp"
#include "state/crc32c.hpp"
#include "state/format_version.hpp"
#include "state/memory_file.hpp"
#include "state/overlay.hpp"
#include "sys/file.hpp"

namespace microvm::state {
namespace {

constexpr std::string_view kMagic = "MVMPAGES";
constexpr uint32_t kPagesVersion = 1;
constexpr size_t kHeaderBytes = 52;
constexpr size_t kRunBytes = 12;

base::Failure corrupt(const std::string& what) {
  return base::fail(ErrorCode::corrupt, "packed pages: " + what);
}

base::Failure invalid(const std::string& what) {
  return base::fail(ErrorCode::invalid_argument, "packed pages: " + what);
}

struct Header {
  uint32_t frame_bytes = 0;
  uint64_t memory_bytes = 0;
  uint64_t page_count = 0;
  uint64_t index_offset = 0;
  uint32_t run_count = 0;
  uint32_t index_checksum = 0;

  [[nodiscard]] wire::Bytes encode() const {
    wire::ByteWriter out;
    out.put_bytes(wire::as_bytes(kMagic));
    out.put(kPagesVersion);
    out.put(frame_bytes);
    out.put(memory_bytes);
    out.put(page_count);
    out.put(index_offset);
    out.put(run_count);
    out.put(index_checksum);
    out.put(crc32c(out.bytes()));
    return out.take();
  }

  [[nodiscard]] size_t frame_count() const {
    return frame_count_for(page_count * kPageBytes, frame_bytes);
  }
  [[nodiscard]] uint64_t index_bytes() const {
    return uint64_t{run_count} * kRunBytes + frame_count() * FrameEntry::kEncodedBytes;
  }
};
static_assert(kHeaderBytes == kMagic.size() + 5 * sizeof(uint32_t) + 3 * sizeof(uint64_t));

Result<Header> decode_header(wire::ByteView bytes, uint64_t memory_bytes) {
  wire::ByteReader in(bytes);
  Header header;
  if (wire::as_text(in.get_bytes(kMagic.size())) != kMagic) return corrupt("not packed pages");
  const auto version = in.get<uint32_t>();
  header.frame_bytes = in.get<uint32_t>();
  header.memory_bytes = in.get<uint64_t>();
  header.page_count = in.get<uint64_t>();
  header.index_offset = in.get<uint64_t>();
  header.run_count = in.get<uint32_t>();
  header.index_checksum = in.get<uint32_t>();
  if (in.get<uint32_t>() != crc32c(bytes.first(kHeaderBytes - sizeof(uint32_t)))) {
    return corrupt("header checksum is wrong");
  }
  if (auto ok = check_version("packed pages", version, kPagesVersion); !ok) {
    return base::fail(ok.error());
  }
  if (header.memory_bytes != memory_bytes) {
    return corrupt("of a memory of " + std::to_string(header.memory_bytes) + " bytes, not of " +
                   std::to_string(memory_bytes));
  }
  // From here on the index's size follows from numbers that the memory's size bounds.
  if (!valid_frame_bytes(header.frame_bytes) || header.page_count > memory_bytes / kPageBytes ||
      header.run_count > header.page_count) {
    return corrupt("bad sizes in the header");
  }
  return header;
}

Result<void> check_memory_size(uint64_t bytes) {
  if (bytes % kPageBytes == 0 && bytes <= kMaxMemoryBytes) return {};
  return invalid("the overlay is no memory's size");
}

// Where one frame's pages are in the sequence of changed pages.
struct FrameRange {
  uint64_t position = 0;
  uint64_t pages = 0;
  [[nodiscard]] size_t bytes() const { return pages * kPageBytes; }
};

FrameRange frame_range(size_t frame, uint32_t frame_bytes, uint64_t page_count) {
  const uint64_t per_frame = frame_bytes / kPageBytes;
  const uint64_t position = frame * per_frame;
  return {position, std::min(per_frame, page_count - position)};
}

// Calls `move(bytes, offset)` for each piece of memory that a frame's raw bytes belong to.
template <class Move>
Result<void> for_each_place(const PageRuns& runs, FrameRange range, std::span<std::byte> raw,
                            Move move) {
  return runs.for_each_piece(range.position, range.pages, [&](PageRun piece) {
    const auto bytes = raw.first(piece.pages * kPageBytes);
    raw = raw.subspan(bytes.size());
    return move(bytes, piece.first_page * kPageBytes);
  });
}

// Compresses frames of the overlay's data and appends them to the packed file.
class PagePacker {
 public:
  PagePacker(int overlay_fd, int packed_fd, uint64_t memory_bytes, const PackPagesOptions& options)
      : overlay_fd_(overlay_fd),
        packed_fd_(packed_fd),
        memory_bytes_(memory_bytes),
        options_(options) {}

  Result<PackPagesResult> run() {
    auto runs = read_page_runs(overlay_fd_, memory_bytes_);
    if (!runs) return base::fail(runs.error());
    runs_ = std::move(*runs);
    frames_.resize(frame_count_for(runs_.page_count() * kPageBytes, options_.frame_bytes));
    const auto done =
        for_each_frame(frames_.size(), options_.threads, [this] { return make_work(); });
    if (!done) return base::fail(done.error());
    return write_index();
  }

 private:
  [[nodiscard]] Result<void> check_stop() const {
    if (options_.stop == nullptr || !options_.stop->load(std::memory_order_relaxed)) return {};
    return base::fail(ErrorCode::cancelled, "pack pages: stopped");
  }

  FrameWork make_work() {
    auto encoder = std::make_shared<FrameEncoder>(options_.frame_bytes, options_.zstd_level);
    return [this, encoder](size_t frame) { return pack(frame, *encoder); };
  }

  Result<void> pack(size_t frame, FrameEncoder& encoder) {
    if (auto go_on = check_stop(); !go_on) return go_on;
    const FrameRange range = frame_range(frame, options_.frame_bytes, runs_.page_count());
    const auto raw = encoder.raw().first(range.bytes());
    auto got = for_each_place(runs_, range, raw, [this](auto bytes, uint64_t offset) {
      return sys::pread_full(overlay_fd_, bytes, offset);
    });
    if (!got) return got;
    const auto entry = encoder.append(raw, packed_fd_, end_);
    if (!entry) return base::fail(entry.error());
    frames_[frame] = *entry;
    return {};
  }

  Result<PackPagesResult> write_index() {
    wire::ByteWriter index;
    for (size_t i = 0; i < runs_.size(); ++i) {
      index.put(runs_[i].first_page);
      index.put(runs_[i].pages);
    }
    for (const FrameEntry& entry : frames_) entry.encode(index);
    const Header header{options_.frame_bytes,
                        memory_bytes_,
                        runs_.page_count(),
                        end_,
                        static_cast<uint32_t>(runs_.size()),
                        crc32c(index.bytes())};
    if (const auto put = sys::pwrite_full(packed_fd_, index.bytes(), end_); !put) {
      return base::fail(put.error());
    }
    if (const auto put = sys::pwrite_full(packed_fd_, header.encode(), 0); !put) {
      return base::fail(put.error());
    }
    return PackPagesResult{runs_.page_count(), end_ + index.bytes().size()};
  }

  int overlay_fd_;
  int packed_fd_;
  uint64_t memory_bytes_;
  PackPagesOptions options_;
  PageRuns runs_;
  std::vector<FrameEntry> frames_;
  std::atomic<uint64_t> end_{kHeaderBytes};
};

// What a packed file says of itself, all of it checked.
struct PageIndex {
  uint32_t frame_bytes = 0;
  PageRuns runs;
  std::vector<FrameEntry> frames;
};

Result<PageIndex> decode_index(const Header& header, wire::ByteView bytes) {
  PageIndex index{header.frame_bytes, PageRuns(header.memory_bytes / kPageBytes), {}};
  wire::ByteReader in(bytes);
  for (uint32_t i = 0; i < header.run_count; ++i) {
    const auto first_page = in.get<uint64_t>();
    const auto pages = in.get<uint32_t>();
    if (!index.runs.append(first_page, pages)) return corrupt("bad run of pages in the index");
  }
  if (index.runs.page_count() != header.page_count) {
    return corrupt("the runs of pages are not as many pages as the header says");
  }
  index.frames.resize(header.frame_count());
  for (FrameEntry& entry : index.frames) {
    entry = FrameEntry::decode(in);
    if (!entry.fits(kHeaderBytes, header.index_offset, header.frame_bytes)) {
      return corrupt("a frame lies outside of the file");
    }
  }
  return index;
}

Result<PageIndex> read_index(int packed_fd, uint64_t memory_bytes) {
  const auto size = regular_file_size(packed_fd, "packed pages");
  if (!size) return base::fail(size.error());
  if (*size < kHeaderBytes) return corrupt("shorter than its header");
  wire::Bytes bytes(kHeaderBytes);
  if (const auto got = sys::pread_full(packed_fd, bytes, 0); !got) return base::fail(got.error());
  const auto header = decode_header(bytes, memory_bytes);
  if (!header) return base::fail(header.error());
  // The index ends the file, so what is allocated for it is bounded by the file.
  if (header->index_offset < kHeaderBytes ||
      !base::range_fits(header->index_offset, header->index_bytes(), *size) ||
      header->index_offset + header->index_bytes() != *size) {
    return corrupt("the index is not where the header says; the file was cut or changed");
  }
  bytes.resize(header->index_bytes());
  if (const auto got = sys::pread_full(packed_fd, bytes, header->index_offset); !got) {
    return base::fail(got.error());
  }
  if (crc32c(bytes) != header->index_checksum) return corrupt("index checksum is wrong");
  return decode_index(*header, bytes);
}

struct UnpackBuffers {
  FrameDecoder decoder;
  wire::Bytes raw;
};

// Whether anything of a frame is to be unpacked.
bool is_wanted(const PageIndex& index, FrameRange range, const PageRuns& covered) {
  bool wanted = false;
  const auto note = [&wanted](PageRun) -> Result<void> {
    wanted = true;
    return {};
  };
  static_cast<void>(index.runs.for_each_piece(range.position, range.pages, [&](PageRun piece) {
    return covered.for_each_missing(piece, note);
  }));
  return wanted;
}

// Not through a mapping: a full page written makes no page of zeros first, and a full disk is an
// error and not a signal.
Result<void> write_missing(int overlay_fd, std::span<const std::byte> bytes, PageRun piece,
                           const PageRuns& covered) {
  return covered.for_each_missing(piece, [&](PageRun missing) {
    const uint64_t skipped = (missing.first_page - piece.first_page) * kPageBytes;
    return sys::pwrite_full(overlay_fd, bytes.subspan(skipped, missing.pages * kPageBytes),
                            missing.first_page * kPageBytes);
  });
}

Result<void> unpack_frame(int packed_fd, int overlay_fd, const PageIndex& index, size_t frame,
                          const PageRuns& covered, UnpackBuffers& buffers) {
  const FrameRange range = frame_range(frame, index.frame_bytes, index.runs.page_count());
  if (!is_wanted(index, range, covered)) return {};
  const auto raw = std::span(buffers.raw).first(range.bytes());
  if (const auto got = buffers.decoder.read(packed_fd, index.frames[frame], raw); !got) {
    return base::fail(got.error().code,
                      "packed pages: frame " + std::to_string(frame) + ": " + got.error().message);
  }
  return for_each_place(index.runs, range, raw, [&](auto bytes, uint64_t offset) {
    const PageRun piece{offset / kPageBytes, static_cast<uint32_t>(bytes.size() / kPageBytes)};
    return write_missing(overlay_fd, bytes, piece, covered);
  });
}

}  // namespace

Result<PackPagesResult> pack_pages(int overlay_fd, int packed_fd, const PackPagesOptions& options) {
  const auto overlay_bytes = regular_file_size(overlay_fd, "overlay");
  if (!overlay_bytes) return base::fail(overlay_bytes.error());
  const uint64_t memory_bytes = options.memory_bytes == 0 ? *overlay_bytes : options.memory_bytes;
  if (auto ok = check_memory_size(memory_bytes); !ok) return base::fail(ok.error());
  const auto packed_bytes = regular_file_size(packed_fd, "packed pages");
  if (!packed_bytes) return base::fail(packed_bytes.error());
  if (*packed_bytes != 0) return invalid("the output is not empty");
  if (!valid_frame_bytes(options.frame_bytes)) return invalid("bad frame size");
  return PagePacker(overlay_fd, packed_fd, memory_bytes, options).run();
}

Result<PageRuns> unpack_pages(int packed_fd, int overlay_fd, uint64_t memory_bytes,
                              unsigned threads, const PageRuns& covered) {
  const auto size = regular_file_size(overlay_fd, "overlay");
  if (!size) return base::fail(size.error());
  if (auto ok = check_memory_size(*size); !ok) return base::fail(ok.error());
  if (*size != memory_bytes) return invalid("the overlay is not as long as the memory");
  auto index = read_index(packed_fd, memory_bytes);
  if (!index) return base::fail(index.error());
  const auto make_work = [&]() -> FrameWork {
    auto buffers = std::make_shared<UnpackBuffers>();
    buffers->raw.resize(index->frame_bytes);
    return [&index, &covered, packed_fd, overlay_fd, buffers](size_t frame) {
      return unpack_frame(packed_fd, overlay_fd, *index, frame, covered, *buffers);
    };
  };
  if (const auto done = for_each_frame(index->frames.size(), threads, make_work); !done) {
    return base::fail(done.error());
  }
  return std::move(index->runs);
}

}  // namespace microvm::state
