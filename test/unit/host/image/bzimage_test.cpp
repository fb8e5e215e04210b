#include "host/image/bzimage.hpp"

#include <doctest/doctest.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "host/image/decompress.hpp"
#include "host/image/elf.hpp"
#include "host/image/kernel_fixtures.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;

namespace {

void append_le32(Bytes& out, size_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

Bytes gzip(ByteSpan in) {
  Bytes out(in.size() + 4096);
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(in.data()));
  stream.avail_in = static_cast<unsigned>(in.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// As the kernel's build does: x86 branch filter, then LZMA2.
Bytes xz(ByteSpan in) {
  lzma_options_lzma options;
  lzma_lzma_preset(&options, 6);
  lzma_filter filters[] = {
      {LZMA_FILTER_X86, nullptr}, {LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  Bytes out(in.size() + 4096);
  size_t used = 0;
  REQUIRE(lzma_stream_buffer_encode(
              filters, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const uint8_t*>(in.data()),
              in.size(), reinterpret_cast<uint8_t*>(out.data()), &used, out.size()) == LZMA_OK);
  out.resize(used);
  append_le32(out, in.size());
  return out;
}

Bytes zstd(ByteSpan in) {
  Bytes out(ZSTD_compressBound(in.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), in.data(), in.size(), 3));
  append_le32(out, in.size());
  return out;
}

Bytes lz4_legacy(ByteSpan in) {
  constexpr size_t kBlock = 8u << 20;
  Bytes out;
  append_le32(out, 0x184c2102);
  for (size_t at = 0; at < in.size(); at += kBlock) {
    const auto piece = in.subspan(at, std::min(kBlock, in.size() - at));
    Bytes packed(static_cast<size_t>(LZ4_compressBound(static_cast<int>(piece.size()))));
    const int count = LZ4_compress_default(
        reinterpret_cast<const char*>(piece.data()), reinterpret_cast<char*>(packed.data()),
        static_cast<int>(piece.size()), static_cast<int>(packed.size()));
    append_le32(out, static_cast<size_t>(count));
    out.insert(out.end(), packed.begin(), packed.begin() + count);
  }
  append_le32(out, in.size());
  return out;
}

Error error_of(Bytes image) {
  const auto result = extract_vmlinux(std::move(image), "vmlinuz");
  REQUIRE_FALSE(result);
  CHECK(result.error().message.starts_with("vmlinuz: "));
  return result.error();
}

}  // namespace

TEST_CASE("bzimage: every payload compression gives the kernel back") {
  const auto vmlinux = fake_vmlinux();
  for (const auto& payload : {gzip(vmlinux), xz(vmlinux), zstd(vmlinux), lz4_legacy(vmlinux)}) {
    const auto extracted = extract_vmlinux(fake_bzimage(payload), "vmlinuz");
    REQUIRE(extracted);
    CHECK(*extracted == vmlinux);
  }
  CHECK(*extract_vmlinux(fake_bzimage(vmlinux), "uncompressed") == vmlinux);
  CHECK(*extract_vmlinux(vmlinux, "plain") == vmlinux);
}

TEST_CASE("bzimage: several lz4 blocks") {
  auto vmlinux = fake_vmlinux();
  vmlinux.resize(20u << 20, std::byte{7});
  const auto extracted = extract_vmlinux(fake_bzimage(lz4_legacy(vmlinux)), "vmlinuz");
  REQUIRE(extracted);
  CHECK(*extracted == vmlinux);
}

TEST_CASE("bzimage: a file cut anywhere is corrupt, never a crash") {
  const auto vmlinux = fake_vmlinux();
  for (const auto& payload : {gzip(vmlinux), xz(vmlinux), zstd(vmlinux), lz4_legacy(vmlinux)}) {
    const auto image = fake_bzimage(payload);
    for (size_t keep = 0; keep + 64 < image.size(); keep += 97)
      CHECK(error_of(Bytes(image.begin(), image.begin() + static_cast<ptrdiff_t>(keep))).code ==
            ErrorCode::corrupt);
    // The header whole, the payload cut inside: what a truncated download looks like.
    for (size_t keep = 8; keep + 8 < payload.size(); keep += 131)
      CHECK(error_of(fake_bzimage(ByteSpan(payload).first(keep))).code == ErrorCode::corrupt);
  }
}

TEST_CASE("bzimage: other architectures are named") {
  CHECK(error_of(fake_vmlinux(EM_AARCH64)).code == ErrorCode::unsupported);
  CHECK(error_of(fake_vmlinux(EM_AARCH64)).message.find("arm64") != std::string::npos);
  Bytes arm64(4096);
  std::memcpy(arm64.data() + 0x38, "ARM\x64", 4);
  CHECK(error_of(arm64).code == ErrorCode::unsupported);
  CHECK(error_of(to_bytes("MZ  zimg, as arm64 kernels are packed")).code == ErrorCode::unsupported);
}

TEST_CASE("bzimage: unknown compressions and old protocols are unsupported") {
  CHECK(error_of(fake_bzimage(to_bytes("BZh91AY&SY..."))).code == ErrorCode::unsupported);
  auto old = fake_bzimage(gzip(fake_vmlinux()));
  old[0x206] = std::byte{7};
  CHECK(error_of(std::move(old)).code == ErrorCode::unsupported);
}

TEST_CASE("bzimage: a small file that unpacks to a huge one is refused") {
  const Bytes zeros(20u << 20);
  for (const auto& packed : {gzip(zeros), xz(zeros), zstd(zeros), lz4_legacy(zeros)}) {
    const auto result = decompress(packed, "bomb", 16u << 20);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::corrupt);
    CHECK(result.error().message == "bomb: unpacks to more than 16 MiB");
  }
}

TEST_CASE("elf: the release is found in the banner") {
  CHECK(find_release(fake_vmlinux()) == "9.9.9-test");
  CHECK(find_release(to_bytes("Linux version ")).empty());
  CHECK(find_release(to_bytes("Linux version 1/../x y")).empty());
}

TEST_CASE("elf: a segment outside of the file is a cut file") {
  auto vmlinux = fake_vmlinux();
  vmlinux.pop_back();
  CHECK(check_vmlinux(vmlinux, "k").error().message == "k: cut short");
  auto header_only = Bytes(vmlinux.begin(), vmlinux.begin() + sizeof(Elf64_Ehdr));
  CHECK(check_vmlinux(header_only, "k").error().code == ErrorCode::corrupt);
}

TEST_CASE("elf: a module's name and dependencies") {
  const auto info = read_module_info(fake_module("virtio-rng", "virtio,virtio_ring"), "m");
  REQUIRE(info);
  CHECK(info->name == "virtio_rng");
  CHECK(info->depends == std::vector<std::string>{"virtio", "virtio_ring"});
  CHECK(read_module_info(fake_module("virtio", ""), "m")->depends.empty());
}

TEST_CASE("elf: damaged modules are corrupt") {
  const auto whole = fake_module("virtio", "a");
  for (size_t keep = 0; keep < whole.size(); ++keep) {
    const auto info = read_module_info(ByteSpan(whole).first(keep), "m");
    if (!info) CHECK(info.error().code == ErrorCode::corrupt);
  }
  for (size_t at = 16; at < sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Shdr); ++at) {
    auto bent = whole;
    bent[at] = std::byte{0xff};
    [[maybe_unused]] const auto info = read_module_info(bent, "m");
  }
}
