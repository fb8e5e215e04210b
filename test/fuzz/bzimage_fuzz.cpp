// Kernel files and modules: boot header, payload decompression, ELF checks, .modinfo.
#include <cstddef>
#include <cstdint>

#include "host/image/bzimage.hpp"
#include "host/image/decompress.hpp"
#include "host/image/elf.hpp"

using namespace microvm::host;

namespace {

constexpr size_t kMaxUnpacked = 1u << 20;
constexpr size_t kHeaderBytes = 1024;

void put(Bytes& image, size_t at, uint32_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) image[at + i] = static_cast<std::byte>(value >> (8 * i));
}

// A boot header the input need not invent, with the input as its payload.
Bytes with_header(ByteSpan payload) {
  Bytes image(kHeaderBytes);
  put(image, 0x1f1, 1, 1);
  put(image, 0x202, 0x53726448, 4);
  put(image, 0x206, 0x020f, 2);
  put(image, 0x24c, static_cast<uint32_t>(payload.size()), 4);
  image.insert(image.end(), payload.begin(), payload.end());
  return image;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteSpan input(reinterpret_cast<const std::byte*>(data), size);
  (void)read_module_info(input, "module");
  (void)check_vmlinux(input, "vmlinux");
  (void)find_release(input);
  // Only what unpacks to little goes on to the whole path, which has the larger bound.
  if (detect_compression(input) != Compression::none && !decompress(input, "f", kMaxUnpacked))
    return 0;
  (void)extract_vmlinux(with_header(input), "bzimage");
  (void)extract_vmlinux(Bytes(input.begin(), input.end()), "file");
  return 0;
}
