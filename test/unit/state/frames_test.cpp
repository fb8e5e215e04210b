#include "state/frames.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "state/crc32c.hpp"
#include "state/memory_image.hpp"
#include "sys/file.hpp"

using namespace microvm;
using namespace microvm::state::test;

namespace {

base::Fd raw_file(const wire::Bytes& memory) {
  auto file = empty_file();
  REQUIRE(state::make_sparse(file.get(), memory.size()));
  REQUIRE(state::write_sparse(file.get(), 0, memory));
  return file;
}

base::Fd packed_file(const wire::Bytes& memory, const state::PackOptions& options = {}) {
  const auto raw = raw_file(memory);
  auto packed = empty_file();
  REQUIRE(state::pack_memory(raw.get(), packed.get(), options));
  return packed;
}

base::Fd file_of(const wire::Bytes& bytes) {
  auto file = empty_file();
  REQUIRE(sys::pwrite_full(file.get(), bytes, 0));
  return file;
}

ErrorCode unpack_error(const wire::Bytes& packed) {
  const auto raw = empty_file();
  const auto done = state::unpack_memory(file_of(packed).get(), raw.get());
  return done ? ErrorCode{} : done.error().code;
}

constexpr state::PackOptions kSmallFrames{.frame_bytes = state::kMinFrameBytes};

}  // namespace

TEST_CASE("frames: raw to packed to raw is the same, with its holes") {
  const auto memory = mixed_memory(300);  // the last frame is short
  for (const unsigned threads : {1u, 4u}) {
    state::PackOptions options = kSmallFrames;
    options.threads = threads;
    const auto packed = packed_file(memory, options);
    const auto raw = empty_file();
    const auto size = state::unpack_memory(packed.get(), raw.get(), threads);
    REQUIRE(size);
    CHECK(*size == memory.size());
    CHECK(content_of(raw.get()) == memory);
    CHECK(allocated_bytes(raw.get()) == 120 * state::kPageBytes);
  }
}

TEST_CASE("frames: memory of zeros is an index and nothing more") {
  const auto packed = packed_file(wire::Bytes(64 << 20));
  CHECK(content_of(packed.get()).size() < 4096);
  const auto raw = empty_file();
  REQUIRE(state::unpack_memory(packed.get(), raw.get()));
  CHECK(allocated_bytes(raw.get()) == 0);
}

TEST_CASE("frames: one frame is read alone") {
  const auto memory = mixed_memory(64);
  const auto packed = packed_file(memory, kSmallFrames);
  const auto reader = state::FrameReader::open(packed.get());
  REQUIRE(reader);
  REQUIRE(reader->frame_count() == 4);
  wire::Bytes frame(reader->frame_size(2));
  REQUIRE(reader->read(2, frame));
  CHECK(std::equal(frame.begin(), frame.end(), memory.begin() + 2 * state::kMinFrameBytes));
  CHECK_FALSE(reader->read(4, frame));
}

TEST_CASE("frames: every cut and any flipped byte is noticed") {
  const auto good = content_of(packed_file(mixed_memory(40), kSmallFrames).get());
  for (size_t size = 0; size < good.size(); size += 97) {
    CHECK(unpack_error({good.begin(), good.begin() + static_cast<long>(size)}) ==
          ErrorCode::corrupt);
  }
  for (size_t at = 0; at < good.size(); at += at < 40 ? 1 : 61) {
    auto bytes = good;
    bytes[at] ^= std::byte{0x10};
    CHECK(unpack_error(bytes) == ErrorCode::corrupt);
  }
}

TEST_CASE("frames: an index with right checksums but wrong places is refused") {
  const auto good = content_of(packed_file(mixed_memory(16), kSmallFrames).get());
  const size_t index_at = good.size() - 16;
  const auto with_entry = [&](uint64_t offset, uint32_t stored) {
    auto bytes = good;
    std::memcpy(&bytes[index_at], &offset, sizeof offset);
    std::memcpy(&bytes[index_at + 8], &stored, sizeof stored);
    const uint32_t index_crc = state::crc32c(wire::ByteView(bytes).subspan(index_at));
    std::memcpy(&bytes[32], &index_crc, sizeof index_crc);
    const uint32_t header_crc = state::crc32c(wire::ByteView(bytes).first(36));
    std::memcpy(&bytes[36], &header_crc, sizeof header_crc);
    return bytes;
  };
  CHECK(unpack_error(with_entry(good.size(), 100)) == ErrorCode::corrupt);
  CHECK(unpack_error(with_entry(UINT64_MAX - 8, 100)) == ErrorCode::corrupt);
  CHECK(unpack_error(with_entry(0, 100)) == ErrorCode::corrupt);
  CHECK(unpack_error(with_entry(40, UINT32_MAX)) == ErrorCode::corrupt);
  CHECK(unpack_error(with_entry(40, 7)) == ErrorCode::corrupt);
}

TEST_CASE("frames: options and files out of bounds are refused") {
  const auto raw = raw_file(mixed_memory(4));
  const auto out = empty_file();
  for (const uint32_t bytes : {0u, 4096u, 100'000u, 4u << 20}) {
    CHECK(state::pack_memory(raw.get(), out.get(), {.frame_bytes = bytes}).error().code ==
          ErrorCode::invalid_argument);
  }
  CHECK_FALSE(state::pack_memory(raw.get(), raw.get()));
  const base::Fd device(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  CHECK_FALSE(state::FrameReader::open(device.get()));
}

TEST_CASE("frames: packing and unpacking ask before each frame whether they may go on") {
  const auto memory = mixed_memory(300);
  const auto raw = raw_file(memory);
  int asked = 0;
  const std::function<Result<void>()> twice = [&]() -> Result<void> {
    if (++asked <= 2) return {};
    return base::fail(ErrorCode::cancelled, "enough");
  };
  state::PackOptions options = kSmallFrames;
  options.may_go_on = &twice;
  const auto stopped = state::pack_memory(raw.get(), empty_file().get(), options);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::cancelled);
  CHECK(asked == 3);
  const auto packed = packed_file(memory, kSmallFrames);
  asked = 0;
  const auto unpacked = state::unpack_memory(packed.get(), empty_file().get(), 1, twice);
  REQUIRE_FALSE(unpacked);
  CHECK(unpacked.error().code == ErrorCode::cancelled);
  CHECK(asked == 3);
}
