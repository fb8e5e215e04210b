// The files of one disk, base first, and where each byte of the disk stands in them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/disk/layer_file.hpp"

namespace microvm::vmm {

// Files of one disk, base and layers.
inline constexpr size_t kMaxDiskFiles = 32;

struct DiskOptions {
  bool read_only = false;
  // For an empty writable layer, which is formatted:
  uint32_t granule_bytes = kMinGranuleBytes;
  uint64_t format_bytes = 0;  // 0: the size of the disk below
};

// A piece of the disk. fd -1: nobody wrote it, it reads as zeros.
struct Segment {
  int fd = -1;
  uint64_t file_offset = 0;
  uint64_t length = 0;
};

// A formatted layer that is in no stack yet.
struct NewLayer {
  LayerFile layer;
  DiskFileInfo file;
};

class LayerStack {
 public:
  // files[0] is the raw base, the rest are layers; all opened O_RDONLY but the last one of a
  // writable disk, which is a layer opened O_RDWR. Errors: invalid_argument, corrupt, unsupported,
  // out_of_disk, io.
  static Result<LayerStack> open(std::vector<base::Fd> files, const DiskOptions& options);

  [[nodiscard]] uint64_t size_bytes() const noexcept { return size_bytes_; }
  // The layer that takes writes; null when the disk is read-only.
  [[nodiscard]] LayerFile* top() noexcept { return writable_ ? &layers_.back() : nullptr; }

  // Makes an empty file (O_RDWR) a layer that fits on top; the stack stays as it is. Error
  // unsupported when it would become too high, invalid_argument when the disk is read-only or the
  // file is not empty, or one that is in the stack; out_of_disk, io.
  [[nodiscard]] Result<NewLayer> format_layer(base::Fd fd) const;
  // Puts it on top; nothing writes to the layers below any more.
  void push(NewLayer top);
  // Takes it away again and empties its file; it was pushed, and nothing was written to it.
  void pop();

  // Adds the pieces of a range inside the disk, in order.
  void map(uint64_t offset, uint64_t length, std::vector<Segment>& out) const;

 private:
  LayerStack() = default;
  Result<void> add_base(base::Fd fd);
  Result<void> add_layer(base::Fd fd, bool writable, const DiskOptions& options);
  [[nodiscard]] Result<DiskFileInfo> check_file(int fd, DiskFileUse use) const;
  void map_below(size_t layers, uint64_t offset, uint64_t end, std::vector<Segment>& out) const;
  void map_base(uint64_t offset, uint64_t end, std::vector<Segment>& out) const;

  std::vector<DiskFileInfo> files_;
  base::Fd base_;
  uint64_t base_bytes_ = 0;
  std::vector<LayerFile> layers_;
  uint64_t size_bytes_ = 0;
  bool writable_ = false;
};

}  // namespace microvm::vmm
