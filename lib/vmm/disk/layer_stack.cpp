#include "vmm/disk/layer_stack.hpp"

#include <algorithm>
#include <string>

namespace microvm::vmm {
namespace {

void add(std::vector<Segment>& out, Segment piece) {
  if (piece.length == 0) return;
  if (!out.empty() && out.back().fd == piece.fd) {
    Segment& last = out.back();
    if (piece.fd < 0 || last.file_offset + last.length == piece.file_offset) {
      last.length += piece.length;
      return;
    }
  }
  out.push_back(piece);
}

}  // namespace

Result<LayerStack> LayerStack::open(std::vector<base::Fd> files, const DiskOptions& options) {
  if (files.empty() || files.size() > kMaxDiskFiles || (files.size() == 1 && !options.read_only)) {
    return base::fail(ErrorCode::invalid_argument,
                      "disk: give a base and, to write, a layer above it");
  }
  LayerStack stack;
  if (auto ok = stack.add_base(std::move(files[0])); !ok) return base::fail(ok.error());
  for (size_t i = 1; i < files.size(); ++i) {
    const bool writable = i + 1 == files.size() && !options.read_only;
    if (auto ok = stack.add_layer(std::move(files[i]), writable, options); !ok) {
      return base::fail(ok.error());
    }
  }
  return stack;
}

// A file given twice would be read and written under two names.
Result<DiskFileInfo> LayerStack::check_file(int fd, DiskFileUse use) const {
  auto info = check_disk_file(fd, use);
  if (!info) return info;
  for (const DiskFileInfo& other : files_) {
    if (other.device == info->device && other.inode == info->inode) {
      return base::fail(ErrorCode::invalid_argument, "disk: one file is given as two layers");
    }
  }
  return info;
}

Result<void> LayerStack::add_base(base::Fd fd) {
  const auto info = check_file(fd.get(), DiskFileUse::read);
  if (!info) return base::fail(info.error());
  if (info->bytes == 0 || info->bytes % kDiskSectorBytes != 0 || info->bytes > kMaxDiskBytes) {
    return base::fail(ErrorCode::corrupt, "disk base of " + std::to_string(info->bytes) +
                                              " bytes: not a multiple of 512 up to 4 TiB");
  }
  files_.push_back(*info);
  base_ = std::move(fd);
  base_bytes_ = size_bytes_ = info->bytes;
  return {};
}

Result<void> LayerStack::add_layer(base::Fd fd, bool writable, const DiskOptions& options) {
  const auto info = check_file(fd.get(), writable ? DiskFileUse::write : DiskFileUse::read);
  if (!info) return base::fail(info.error());
  const LayerHeader fresh{
      .granule_bytes = options.granule_bytes,
      .virtual_bytes = options.format_bytes != 0 ? options.format_bytes : size_bytes_,
      .lower_bytes = size_bytes_};
  auto layer = writable && info->bytes == 0
                   ? LayerFile::format(std::move(fd), fresh)
                   : LayerFile::open(std::move(fd), info->bytes, size_bytes_);
  if (!layer) return base::fail(layer.error());
  files_.push_back(*info);
  size_bytes_ = layer->header.virtual_bytes;
  writable_ = writable;
  layers_.push_back(std::move(*layer));
  return {};
}

Result<NewLayer> LayerStack::format_layer(base::Fd fd) const {
  if (!writable_) return base::fail(ErrorCode::invalid_argument, "disk: it is read-only");
  if (files_.size() >= kMaxDiskFiles) {
    return base::fail(ErrorCode::unsupported, "too many disk layers: a disk has at most " +
                                                  std::to_string(kMaxDiskFiles) +
                                                  "; merge some of them");
  }
  const auto info = check_file(fd.get(), DiskFileUse::write);
  if (!info) return base::fail(info.error());
  if (info->bytes != 0) {
    return base::fail(ErrorCode::invalid_argument, "disk: a new layer's file is not empty");
  }
  auto layer =
      LayerFile::format(std::move(fd), {.granule_bytes = layers_.back().header.granule_bytes,
                                        .virtual_bytes = size_bytes_,
                                        .lower_bytes = size_bytes_});
  if (!layer) return base::fail(layer.error());
  return NewLayer{std::move(*layer), *info};
}

void LayerStack::push(NewLayer top) {
  files_.push_back(top.file);
  layers_.push_back(std::move(top.layer));
}

void LayerStack::pop() {
  layers_.back().give_up();
  layers_.pop_back();
  files_.pop_back();
}

void LayerStack::map(uint64_t offset, uint64_t length, std::vector<Segment>& out) const {
  map_below(layers_.size(), offset, offset + length, out);
}

// The range as the first `layers` layers and the base have it. Each call goes one layer down, and a
// disk has at most kMaxDiskFiles of them.
void LayerStack::map_below(size_t layers, uint64_t offset, uint64_t end,
                           std::vector<Segment>& out) const {
  if (layers == 0) return map_base(offset, end, out);
  const LayerFile& layer = layers_[layers - 1];
  const uint64_t granule_bytes = layer.header.granule_bytes;
  const uint64_t layer_end = std::min(end, layer.header.virtual_bytes);
  while (offset < layer_end) {
    const uint64_t granule = offset / granule_bytes;
    const uint64_t last = (layer_end + granule_bytes - 1) / granule_bytes;
    const uint64_t run = layer.map.run_end(granule, last);
    const uint64_t next = std::min(layer_end, run * granule_bytes);
    if (layer.map.test(granule)) {
      add(out, {layer.fd.get(), layer.data_offset + offset, next - offset});
    } else {
      map_below(layers - 1, offset, next, out);
    }
    offset = next;
  }
  if (offset < end) add(out, {.length = end - offset});
}

void LayerStack::map_base(uint64_t offset, uint64_t end, std::vector<Segment>& out) const {
  const uint64_t data_end = std::clamp(base_bytes_, offset, end);
  add(out, {base_.get(), offset, data_end - offset});
  add(out, {.length = end - data_end});
}

}  // namespace microvm::vmm
