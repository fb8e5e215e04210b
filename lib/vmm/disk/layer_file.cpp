#include "vmm/disk/layer_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "state/crc32c.hpp"
#include "state/format_version.hpp"

namespace microvm::vmm {
namespace {

constexpr uint64_t kLayerMagic = 0x52455941'4c4d564d;  // "MVMLAYER"
constexpr uint32_t kLayerVersion = 1;
constexpr uint64_t kHeaderPage = kLayerMapOffset;
constexpr uint64_t kHeaderBytes = 8 + 4 + 4 + 8 + 8;
constexpr uint64_t kDataAlignment = kMaxGranuleBytes;

base::Failure corrupt(const std::string& what) {
  return base::fail(ErrorCode::corrupt, "disk layer: " + what);
}

bool valid_granule(uint32_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kMinGranuleBytes && bytes <= kMaxGranuleBytes;
}

bool valid_size(uint64_t bytes) {
  return bytes > 0 && bytes <= kMaxDiskBytes && bytes % kDiskSectorBytes == 0;
}

Result<void> read_exactly(int fd, std::span<std::byte> into, uint64_t offset) {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::fail_errno("read disk layer");
    if (got == 0) return corrupt("truncated");
    into = into.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<void> load_range(int fd, AllocationMap& map, uint64_t at, uint64_t end) {
  const auto into = map.storage().subspan(at, end - at);
  if (auto ok = read_exactly(fd, into, kHeaderPage + at); !ok) return ok;
  if (!map.verify(at, end - at)) return corrupt("its allocation map is damaged");
  return {};
}

// Reads what the file has of the map; holes are free granules and stay untouched memory. A small
// map is read whole: one system call instead of three and more.
Result<void> load_map(int fd, AllocationMap& map) {
  constexpr uint64_t kSmall = 64 * 1024;
  const uint64_t size = map.storage().size();
  if (size <= kSmall) return load_range(fd, map, 0, size);
  uint64_t at = 0;
  while (at < size) {
    const off_t data = ::lseek(fd, static_cast<off_t>(kHeaderPage + at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return base::fail_errno("seek in disk layer");
    const uint64_t begin = static_cast<uint64_t>(data) - kHeaderPage;
    if (begin >= size) return {};
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole <= data) return corrupt("changed while it was opened");
    at = std::min(static_cast<uint64_t>(hole) - kHeaderPage, size);
    if (auto ok = load_range(fd, map, begin, at); !ok) return ok;
  }
  return {};
}

}  // namespace

uint64_t LayerHeader::granules() const {
  return (virtual_bytes + granule_bytes - 1) / granule_bytes;
}

uint64_t LayerHeader::data_offset() const {
  const uint64_t end = kHeaderPage + AllocationMap::bytes_for(granules());
  return (end + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
}

wire::Bytes LayerHeader::encode() const {
  wire::ByteWriter out;
  out.put(kLayerMagic);
  out.put(kLayerVersion);
  out.put(granule_bytes);
  out.put(virtual_bytes);
  out.put(lower_bytes);
  out.put(state::crc32c(out.bytes()));
  wire::Bytes page = out.take();
  page.resize(kHeaderPage);
  return page;
}

Result<LayerHeader> LayerHeader::decode(wire::ByteView page) {
  wire::ByteReader in(page);
  LayerHeader header;
  const auto magic = in.get<uint64_t>();
  const auto version = in.get<uint32_t>();
  header.granule_bytes = in.get<uint32_t>();
  header.virtual_bytes = in.get<uint64_t>();
  header.lower_bytes = in.get<uint64_t>();
  const auto checksum = in.get<uint32_t>();
  if (!in.ok() || magic != kLayerMagic) return corrupt("not a layer");
  if (checksum != state::crc32c(page.first(kHeaderBytes))) return corrupt("its header is damaged");
  if (auto ok = state::check_version("disk layer", version, kLayerVersion); !ok) {
    return base::fail(ok.error());
  }
  if (!valid_granule(header.granule_bytes)) return corrupt("bad granule size");
  if (!valid_size(header.virtual_bytes) || header.lower_bytes > kMaxDiskBytes) {
    return corrupt("bad size");
  }
  return header;
}

Result<LayerFile> LayerFile::open(base::Fd fd, uint64_t file_bytes,
                                  std::optional<uint64_t> lower_bytes) {
  std::array<std::byte, kHeaderBytes + 4> page{};
  if (auto ok = read_exactly(fd.get(), page, 0); !ok) return base::fail(ok.error());
  auto header = LayerHeader::decode(page);
  if (!header) return base::fail(header.error());
  if (lower_bytes && header->lower_bytes != *lower_bytes) {
    return corrupt("made for a disk of " + std::to_string(header->lower_bytes) +
                   " bytes, the one below has " + std::to_string(*lower_bytes));
  }
  LayerFile layer{.fd = std::move(fd), .header = *header, .data_offset = header->data_offset()};
  if (file_bytes < layer.data_offset + header->virtual_bytes) return corrupt("truncated");
  layer.map = AllocationMap(header->granules());
  if (auto ok = load_map(layer.fd.get(), layer.map); !ok) return base::fail(ok.error());
  return layer;
}

Result<LayerFile> LayerFile::format(base::Fd fd, const LayerHeader& header) {
  if (!valid_granule(header.granule_bytes) || !valid_size(header.virtual_bytes)) {
    return base::fail(ErrorCode::invalid_argument,
                      "disk layer: granules are 4 to 64 KiB, disks a multiple of 512 bytes up to "
                      "4 TiB");
  }
  LayerFile layer{.fd = std::move(fd), .header = header, .data_offset = header.data_offset()};
  const auto size = static_cast<off_t>(layer.data_offset + header.virtual_bytes);
  if (::ftruncate(layer.fd.get(), size) != 0) return base::fail_errno("size disk layer");
  const wire::Bytes page = header.encode();
  const ssize_t put = ::pwrite(layer.fd.get(), page.data(), page.size(), 0);
  if (put != static_cast<ssize_t>(page.size())) {
    const int error = put < 0 ? errno : ENOSPC;
    layer.give_up();
    return base::fail_errno("write disk layer", error);
  }
  layer.map = AllocationMap(header.granules());
  return layer;
}

void LayerFile::give_up() const {
  [[maybe_unused]] const int emptied = ::ftruncate(fd.get(), 0);
}

Result<DiskFileInfo> check_disk_file(int fd, DiskFileUse use) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno("stat disk file");
  if (!S_ISREG(info.st_mode)) {
    return base::fail(ErrorCode::invalid_argument, "disk file: not a regular file");
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return base::fail_errno("read flags of disk file");
  const int wanted = use == DiskFileUse::read ? O_RDONLY : O_RDWR;
  if ((flags & O_ACCMODE) != wanted || (flags & (O_APPEND | O_PATH)) != 0) {
    return base::fail(ErrorCode::invalid_argument,
                      use == DiskFileUse::read ? "disk file: open read-only layers O_RDONLY"
                                               : "disk file: open the writable layer O_RDWR");
  }
  return DiskFileInfo{
      .bytes = static_cast<uint64_t>(info.st_size), .device = info.st_dev, .inode = info.st_ino};
}

}  // namespace microvm::vmm
