// A copy-on-write layer: a sparse file of
//   header  magic "MVMLAYER", u32 version, u32 granule bytes, u64 virtual bytes, u64 bytes of the
//           disk below, u32 crc32c of all that; zeros up to 4096
//   map     from 4096: which granules the layer holds (allocation_map.hpp)
//   data    from the next multiple of 64 KiB: byte n of the disk stands at data_offset + n
// all little-endian. The file is untrusted input.
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/disk/allocation_map.hpp"

namespace microvm::vmm {

inline constexpr uint32_t kMinGranuleBytes = 4096;
inline constexpr uint32_t kMaxGranuleBytes = 64 * 1024;
inline constexpr uint64_t kMaxDiskBytes = uint64_t{4} << 40;
inline constexpr uint32_t kDiskSectorBytes = 512;

// Where the map stands in the file.
inline constexpr uint64_t kLayerMapOffset = 4096;

struct LayerHeader {
  uint32_t granule_bytes = kMinGranuleBytes;
  uint64_t virtual_bytes = 0;
  uint64_t lower_bytes = 0;

  [[nodiscard]] uint64_t granules() const;
  [[nodiscard]] uint64_t data_offset() const;
  [[nodiscard]] wire::Bytes encode() const;
  // Errors: corrupt (damaged, or numbers out of their bounds), unsupported (a newer version).
  static Result<LayerHeader> decode(wire::ByteView page);
};

struct DiskFileInfo {
  uint64_t bytes = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
};

enum class DiskFileUse { read, write };

// A regular file, opened for this use and no other: what is to be read only the kernel must refuse
// to write.
Result<DiskFileInfo> check_disk_file(int fd, DiskFileUse use);

struct LayerFile {
  base::Fd fd;
  LayerHeader header;
  AllocationMap map{};
  uint64_t data_offset = 0;

  // `file_bytes`: as check_disk_file() found it; `lower_bytes`: the size of the disk below, where
  // it is known.
  static Result<LayerFile> open(base::Fd fd, uint64_t file_bytes,
                                std::optional<uint64_t> lower_bytes);
  // Writes the header of an empty file and gives it its full, sparse size.
  static Result<LayerFile> format(base::Fd fd, const LayerHeader& header);
  // Makes its file empty again: by that everyone sees that it is in no stack.
  void give_up() const;
};

}  // namespace microvm::vmm
