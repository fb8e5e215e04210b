#include "host/image/bzimage.hpp"

#include "base/checked.hpp"
#include "host/image/decompress.hpp"
#include "host/image/elf.hpp"

namespace microvm::host {

using base::fail;

namespace {

// Linux/x86 boot protocol, Documentation/arch/x86/boot.rst: offsets in the first sectors.
constexpr size_t kSetupSectors = 0x1f1;
constexpr size_t kHeaderMagic = 0x202;
constexpr size_t kProtocolVersion = 0x206;
constexpr size_t kPayloadOffset = 0x248;
constexpr size_t kPayloadLength = 0x24c;
constexpr size_t kHeaderEnd = 0x250;
constexpr uint32_t kHdrS = 0x53726448;  // "HdrS"
constexpr uint16_t kFirstVersionWithPayload = 0x0208;
constexpr size_t kSectorBytes = 512;
constexpr size_t kDefaultSetupSectors = 4;  // what 0 means

bool has_boot_header(ByteSpan image) {
  return image.size() >= kHeaderEnd && load_le<uint32_t>(image, kHeaderMagic) == kHdrS;
}

// arm64 and riscv images: a magic number at 0x38 (Documentation/arch/arm64/booting.rst).
bool is_other_architecture(ByteSpan image) {
  constexpr size_t kMagic = 0x38;
  constexpr uint32_t kArm64 = 0x644d5241;
  constexpr uint32_t kRiscv = 0x05435352;
  if (image.size() < kMagic + 4) return false;
  const auto magic = load_le<uint32_t>(image, kMagic);
  return magic == kArm64 || magic == kRiscv;
}

// arm64's compressed EFI images: "MZ", then "zimg".
bool is_efi_zboot(ByteSpan image) {
  constexpr uint32_t kZimg = 0x676d697a;
  return image.size() >= 8 && load_le<uint16_t>(image, 0) == 0x5a4d &&
         load_le<uint32_t>(image, 4) == kZimg;
}

Result<ByteSpan> find_payload(ByteSpan image, const std::string& name) {
  if (load_le<uint16_t>(image, kProtocolVersion) < kFirstVersionWithPayload)
    return fail(ErrorCode::unsupported, name + ": boot protocol older than 2.08");
  size_t sectors = std::to_integer<size_t>(image[kSetupSectors]);
  if (sectors == 0) sectors = kDefaultSetupSectors;
  const uint64_t begin =
      (sectors + 1) * kSectorBytes + uint64_t{load_le<uint32_t>(image, kPayloadOffset)};
  const uint64_t length = load_le<uint32_t>(image, kPayloadLength);
  if (length == 0 || !base::range_fits(begin, length, image.size()))
    return fail(ErrorCode::corrupt, name + ": the kernel is cut short");
  return image.subspan(begin, length);
}

Result<Bytes> checked(Bytes vmlinux, const std::string& name) {
  if (auto good = check_vmlinux(vmlinux, name); !good) return fail(good.error());
  return vmlinux;
}

}  // namespace

Result<Bytes> extract_vmlinux(Bytes image, const std::string& name) {
  if (is_elf(image)) return checked(std::move(image), name);
  if (has_boot_header(image)) {
    const auto payload = find_payload(image, name);
    if (!payload) return fail(payload.error());
    // CONFIG_KERNEL_UNCOMPRESSED: the payload is the ELF file itself.
    if (is_elf(*payload)) return checked(Bytes(payload->begin(), payload->end()), name);
    auto vmlinux = decompress(*payload, name);
    if (!vmlinux) return vmlinux;
    return checked(std::move(*vmlinux), name);
  }
  if (is_other_architecture(image) || is_efi_zboot(image))
    return fail(
        ErrorCode::unsupported,
        name + ": a kernel for another architecture, this library runs x86-64 (amd64) ones");
  return fail(ErrorCode::corrupt, name + ": not a Linux kernel (neither bzImage nor ELF)");
}

}  // namespace microvm::host
