#include "vmm/disk/merge.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "state/memory_file.hpp"
#include "sys/file.hpp"
#include "vmm/disk/layer_file.hpp"

namespace microvm::vmm {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;
static_assert(kChunkBytes % kMaxGranuleBytes == 0);

Result<LayerFile> open_layer(base::Fd fd, DiskFileUse use) {
  const auto info = check_disk_file(fd.get(), use);
  if (!info) return base::fail(info.error());
  return LayerFile::open(std::move(fd), info->bytes, std::nullopt);
}

class Merge {
 public:
  Merge(LayerFile lower, LayerFile upper, const BeforeWrite& before_write)
      : lower_(std::move(lower)),
        upper_(std::move(upper)),
        before_write_(before_write),
        granule_bytes_(upper_.header.granule_bytes),
        chunk_(kChunkBytes) {}

  [[nodiscard]] Result<void> check() const {
    const LayerHeader& below = lower_.header;
    const LayerHeader& above = upper_.header;
    if (above.lower_bytes == below.virtual_bytes && above.virtual_bytes == below.virtual_bytes &&
        above.granule_bytes == below.granule_bytes) {
      return {};
    }
    return base::fail(ErrorCode::invalid_argument,
                      "merge of disk layers: they are not neighbours of one size");
  }

  // A bit never reaches the file ahead of the data it stands for, as in a flush of disk_engine.hpp.
  // What the data overwrite is either hidden by the upper layer or belongs to nobody.
  Result<void> run() {
    if (auto ok = copy_data(); !ok) return ok;
    if (auto ok = sync(); !ok) return ok;
    for (const AllocationMap::Patch& patch : lower_.map.take_changes()) {
      if (auto ok = write(kLayerMapOffset + patch.offset, patch.bytes); !ok) return ok;
    }
    return sync();
  }

 private:
  Result<void> copy_data() {
    const uint64_t granules = upper_.header.granules();
    for (uint64_t granule = 0; granule < granules;) {
      const uint64_t run = upper_.map.run_end(granule, granules);
      if (upper_.map.test(granule)) {
        if (auto ok = copy_granules(granule, run); !ok) return ok;
        lower_.map.set(granule, run - 1);
      }
      granule = run;
    }
    return {};
  }

  Result<void> copy_granules(uint64_t first, uint64_t last) {
    const uint64_t end = std::min(last * granule_bytes_, upper_.header.virtual_bytes);
    for (uint64_t at = first * granule_bytes_; at < end;) {
      const auto chunk = std::span(chunk_).first(std::min(kChunkBytes, end - at));
      if (auto ok = sys::pread_full(upper_.fd.get(), chunk, upper_.data_offset + at); !ok) {
        return ok;
      }
      if (auto ok = put(at, chunk); !ok) return ok;
      at += chunk.size();
    }
    return {};
  }

  // Granules of zeros become holes. The last one of a disk may be short.
  Result<void> put(uint64_t offset, std::span<const std::byte> data) {
    while (!data.empty()) {
      const bool zero = is_zero_granule(data);
      size_t length = 0;
      while (length < data.size() && is_zero_granule(data.subspan(length)) == zero) {
        length += std::min<size_t>(granule_bytes_, data.size() - length);
      }
      const auto done = zero ? clear(offset, data.first(length))
                             : write(lower_.data_offset + offset, data.first(length));
      if (!done) return done;
      offset += length;
      data = data.subspan(length);
    }
    return {};
  }

  [[nodiscard]] bool is_zero_granule(std::span<const std::byte> data) const {
    return state::is_zero(data.first(std::min<size_t>(granule_bytes_, data.size())));
  }

  // Where the file system has no holes, zeros are data like any.
  Result<void> clear(uint64_t offset, std::span<const std::byte> granule) {
    if (auto ok = before_write_(); !ok) return ok;
    const uint64_t at = lower_.data_offset + offset;
    if (sys::punch_hole(lower_.fd.get(), at, granule.size())) return {};
    return sys::pwrite_full(lower_.fd.get(), granule, at);
  }

  Result<void> write(uint64_t offset, std::span<const std::byte> bytes) {
    if (auto ok = before_write_(); !ok) return ok;
    return sys::pwrite_full(lower_.fd.get(), bytes, offset);
  }

  Result<void> sync() { return sys::sync_file(lower_.fd.get()); }

  LayerFile lower_;
  LayerFile upper_;
  const BeforeWrite& before_write_;
  const uint64_t granule_bytes_;
  std::vector<std::byte> chunk_;
};

}  // namespace

Result<void> merge_layers(base::Fd lower, base::Fd upper, const BeforeWrite& before_write) {
  auto below = open_layer(std::move(lower), DiskFileUse::write);
  if (!below) return base::fail(below.error());
  auto above = open_layer(std::move(upper), DiskFileUse::read);
  if (!above) return base::fail(above.error());
  Merge merge(std::move(*below), std::move(*above), before_write);
  if (auto ok = merge.check(); !ok) return ok;
  return merge.run();
}

}  // namespace microvm::vmm
