#include "host/image/decompress.hpp"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>

namespace microvm::host {

using base::fail;

namespace {

constexpr size_t kFirstBytes = 1u << 20;
constexpr size_t kLz4LegacyBlockBytes = 8u << 20;
constexpr uint64_t kDecoderMemoryBytes = 512u << 20;

// The unpacked bytes so far, growing up to the bound.
class Output {
 public:
  Output(const std::string& name, size_t max_bytes) : name_(name), max_bytes_(max_bytes) {}

  // Room for at least one more byte.
  Result<std::span<std::byte>> room(size_t at_least = 1) {
    if (at_least > max_bytes_ - used_)
      return fail(ErrorCode::corrupt,
                  name_ + ": unpacks to more than " + std::to_string(max_bytes_ >> 20) + " MiB");
    if (bytes_.size() - used_ < at_least)
      bytes_.resize(
          std::min(max_bytes_, std::max({bytes_.size() * 2, kFirstBytes, used_ + at_least})));
    return std::span(bytes_).subspan(used_);
  }
  void add(size_t count) { used_ += count; }
  Bytes take() {
    bytes_.resize(used_);
    return std::move(bytes_);
  }
  [[nodiscard]] base::Failure damaged() const {
    return fail(ErrorCode::corrupt, name_ + ": the compressed data is damaged or cut short");
  }

 private:
  const std::string& name_;
  size_t max_bytes_;
  size_t used_ = 0;
  Bytes bytes_;
};

unsigned char* as_unsigned(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}
const unsigned char* as_unsigned(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

Result<void> unpack_gzip(ByteSpan packed, Output& out) {
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) return fail(ErrorCode::out_of_memory, "gzip");
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
  stream.next_in = const_cast<unsigned char*>(as_unsigned(packed.data()));
  stream.avail_in = static_cast<unsigned>(packed.size());
  for (;;) {
    const auto room = out.room();
    if (!room) return fail(room.error());
    stream.next_out = as_unsigned(room->data());
    stream.avail_out = static_cast<unsigned>(room->size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    out.add(room->size() - stream.avail_out);
    if (result == Z_STREAM_END) return {};
    if (result != Z_OK) return out.damaged();
  }
}

Result<void> unpack_xz(ByteSpan packed, Output& out) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kDecoderMemoryBytes, 0) != LZMA_OK)
    return fail(ErrorCode::out_of_memory, "xz");
  const std::unique_ptr<lzma_stream, decltype(&lzma_end)> guard(&stream, lzma_end);
  stream.next_in = as_unsigned(packed.data());
  stream.avail_in = packed.size();
  for (;;) {
    const auto room = out.room();
    if (!room) return fail(room.error());
    stream.next_out = as_unsigned(room->data());
    stream.avail_out = room->size();
    const lzma_ret result = lzma_code(&stream, LZMA_RUN);
    out.add(room->size() - stream.avail_out);
    if (result == LZMA_STREAM_END) return {};
    if (result != LZMA_OK) return out.damaged();
  }
}

Result<void> unpack_zstd(ByteSpan packed, Output& out) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          ZSTD_freeDStream);
  if (!stream) return fail(ErrorCode::out_of_memory, "zstd");
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  for (;;) {
    const auto room = out.room();
    if (!room) return fail(room.error());
    ZSTD_outBuffer piece{room->data(), room->size(), 0};
    const size_t before = in.pos;
    const size_t result = ZSTD_decompressStream(stream.get(), &piece, &in);
    out.add(piece.pos);
    if (ZSTD_isError(result) != 0) return out.damaged();
    if (result == 0) return {};
    if (piece.pos == 0 && in.pos == before) return out.damaged();
  }
}

// A magic number, then blocks: u32 packed size, bytes. No end mark; a kernel's unpacked size (four
// bytes) may follow the last one.
Result<void> unpack_lz4_legacy(ByteSpan packed, Output& out) {
  constexpr size_t kWordBytes = 4;
  packed = packed.subspan(kWordBytes);
  while (packed.size() > kWordBytes) {
    const size_t length = load_le<uint32_t>(packed, 0);
    packed = packed.subspan(kWordBytes);
    if (length == 0 || length > packed.size() ||
        length > static_cast<size_t>(LZ4_COMPRESSBOUND(kLz4LegacyBlockBytes)))
      return out.damaged();
    const auto room = out.room(kLz4LegacyBlockBytes);
    if (!room) return fail(room.error());
    const int count = LZ4_decompress_safe(
        reinterpret_cast<const char*>(packed.data()), reinterpret_cast<char*>(room->data()),
        static_cast<int>(length), static_cast<int>(std::min(room->size(), kLz4LegacyBlockBytes)));
    if (count < 0) return out.damaged();
    out.add(static_cast<size_t>(count));
    packed = packed.subspan(length);
  }
  if (packed.size() != kWordBytes && !packed.empty()) return out.damaged();
  return {};
}

Result<void> unpack(ByteSpan packed, Output& out, const std::string& name) {
  switch (detect_compression(packed)) {
    case Compression::gzip:
      return unpack_gzip(packed, out);
    case Compression::xz:
      return unpack_xz(packed, out);
    case Compression::zstd:
      return unpack_zstd(packed, out);
    case Compression::lz4_legacy:
      return unpack_lz4_legacy(packed, out);
    case Compression::none:
    case Compression::not_supported:
      break;
  }
  return fail(ErrorCode::unsupported,
              name + ": compressed in an unknown way (known: gzip, xz, zstd, lz4)");
}

template <size_t N>
bool begins_with(ByteSpan bytes, const std::array<uint8_t, N>& magic) {
  return bytes.size() > N &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](uint8_t a, std::byte b) { return a == std::to_integer<uint8_t>(b); });
}

}  // namespace

Compression detect_compression(ByteSpan bytes) noexcept {
  static constexpr std::array<uint8_t, 2> kGzip = {0x1f, 0x8b};
  static constexpr std::array<uint8_t, 6> kXz = {0xfd, '7', 'z', 'X', 'Z', 0};
  static constexpr std::array<uint8_t, 4> kZstd = {0x28, 0xb5, 0x2f, 0xfd};
  static constexpr std::array<uint8_t, 4> kLz4Legacy = {0x02, 0x21, 0x4c, 0x18};
  static constexpr std::array<uint8_t, 3> kBzip2 = {'B', 'Z', 'h'};
  static constexpr std::array<uint8_t, 3> kLzma = {0x5d, 0, 0};
  static constexpr std::array<uint8_t, 4> kLzo = {0x89, 'L', 'Z', 'O'};
  if (begins_with(bytes, kGzip)) return Compression::gzip;
  if (begins_with(bytes, kXz)) return Compression::xz;
  if (begins_with(bytes, kZstd)) return Compression::zstd;
  if (begins_with(bytes, kLz4Legacy)) return Compression::lz4_legacy;
  if (begins_with(bytes, kBzip2) || begins_with(bytes, kLzma) || begins_with(bytes, kLzo))
    return Compression::not_supported;
  return Compression::none;
}

Result<Bytes> decompress(ByteSpan packed, const std::string& name, size_t max_bytes) {
  Output out(name, max_bytes);
  try {
    if (auto unpacked = unpack(packed, out, name); !unpacked) return fail(unpacked.error());
    return out.take();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::out_of_memory, "unpack " + name);
  }
}

}  // namespace microvm::host
