// manifest.json: what an entry of the store says about itself. Untrusted on the way in (an entry
// may be copied from elsewhere): every field is bounded, file names are plain, digests are checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "microvm/image.hpp"
#include "wire/shape.hpp"

namespace microvm::host {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr size_t kMaxManifestBytes = 1u << 20;
inline constexpr uint64_t kManifestSchema = 1;

struct FileRecord {
  std::string file;         // plain name inside the entry's directory
  uint64_t size_bytes = 0;  // st_size
  uint64_t data_bytes = 0;  // not in holes
  std::string sha256;       // hex, by digest_sparse_file(); empty: not computed
};

struct KernelManifest {
  KernelInfo info;
  int64_t imported_ms = 0;          // Unix time; orders kernels of one store
  FileRecord vmlinux;               // "vmlinux"
  std::vector<FileRecord> modules;  // "NN-name.ko", in load order
  // Has the driver; not said of kernels imported by older libraries.
  bool virtio_pci = false;
  bool virtio_net = false;
  // "modules.ext4": all modules (host/image/modules_disk.hpp). A kernel that came without any, or
  // was imported by an older library, has none.
  std::optional<FileRecord> modules_disk;
};

struct BaseManifest {
  BaseInfo info;  // digest: digest_sparse_file() of the ext4 file; size_bytes: what the guest sees
  int64_t imported_ms = 0;
  FileRecord disk;  // "disk.ext4"
};

enum class ImageForm { raw, packed };

struct ImageManifest {
  ImageInfo info;  // name, version, created, config …
  std::string kernel_digest;
  std::string base_digest;
  uint64_t disk_bytes = 0;     // size of the virtual disk
  uint16_t ready_port = 0;     // 0: ready when its hook says so, or the command has started
  std::string kernel_cmdline;  // what the guest was booted with
  wire::TransportKind transport = wire::TransportKind::mmio;  // and where it found its devices
  uint16_t nets = 0;               // its network devices; those of before have none
  std::vector<FileRecord> layers;  // copy-on-write layers above the base, lowest first
  FileRecord memory;               // raw: sparse file; packed: zstd frames, sha256 set
  FileRecord state;                // device state; sha256 always set
  // What its clones touch first (state/working_set.hpp); an image may have none.
  std::optional<FileRecord> working_set;
  // The disk of its kernel's entry that its microVMs have as their second one; none: they have one.
  std::optional<FileRecord> modules_disk;
  ImageForm form = ImageForm::raw;
  // Only when packed: what unpacking must give back.
  uint64_t memory_raw_bytes = 0;
};

// Error invalid_argument when a field is over its bound or not UTF-8: then it could not be read
// back.
[[nodiscard]] Result<std::string> encode_manifest(const KernelManifest& manifest);
[[nodiscard]] Result<std::string> encode_manifest(const BaseManifest& manifest);
[[nodiscard]] Result<std::string> encode_manifest(const ImageManifest& manifest);

// `file` stands in messages. Errors: corrupt, unsupported (a newer schema).
[[nodiscard]] Result<KernelManifest> parse_kernel_manifest(std::string_view text,
                                                           const std::string& file);
[[nodiscard]] Result<BaseManifest> parse_base_manifest(std::string_view text,
                                                       const std::string& file);
[[nodiscard]] Result<ImageManifest> parse_image_manifest(std::string_view text,
                                                         const std::string& file);

}  // namespace microvm::host
