#include "host/store/digest.hpp"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace microvm::host {

using base::fail;
using base::fail_errno;

namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr size_t kChunkBytes = 1u << 20;

EVP_MD_CTX* as_context(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

bool all_zero(std::span<const std::byte> block) {
  return block.front() == std::byte{} &&
         std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

std::array<std::byte, 8> little_endian(uint64_t value) {
  std::array<std::byte, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  return bytes;
}

Result<uint64_t> file_size(int fd, const std::string& name) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("stat " + name);
  return static_cast<uint64_t>(info.st_size);
}

struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;  // begin == end: no more data
};

// The next data at or after `from`, widened to whole blocks.
Result<Extent> next_data(int fd, uint64_t from, uint64_t size, const std::string& name) {
  if (from >= size) return Extent{size, size};
  const off_t data = ::lseek(fd, static_cast<off_t>(from), SEEK_DATA);
  if (data < 0 && errno == ENXIO) return Extent{size, size};
  if (data < 0) return fail_errno("seek " + name);
  const off_t hole = ::lseek(fd, data, SEEK_HOLE);
  if (hole < 0) return fail_errno("seek " + name);
  const uint64_t begin = std::max(from, static_cast<uint64_t>(data) / kBlockBytes * kBlockBytes);
  const uint64_t end = (static_cast<uint64_t>(hole) + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  return Extent{begin, std::min(end, size)};
}

Result<size_t> read_full(int fd, std::span<std::byte> out, uint64_t offset,
                         const std::string& name) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + name);
    if (count == 0) return fail(ErrorCode::corrupt, name + ": became shorter while it was read");
    done += static_cast<size_t>(count);
  }
  return done;
}

void hash_blocks(Sha256& hash, std::span<const std::byte> chunk, uint64_t offset,
                 uint64_t& data_bytes) {
  for (size_t at = 0; at < chunk.size(); at += kBlockBytes) {
    const auto block = chunk.subspan(at, std::min<size_t>(kBlockBytes, chunk.size() - at));
    if (all_zero(block)) continue;
    hash.update(little_endian(offset + at));
    hash.update(block);
    data_bytes += block.size();
  }
}

}  // namespace

void Sha256::Free::operator()(void* context) const noexcept {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context));
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  ok_ = context_ && EVP_DigestInit_ex(as_context(context_.get()), EVP_sha256(), nullptr) == 1;
}

void Sha256::update(std::span<const std::byte> bytes) {
  ok_ = ok_ && EVP_DigestUpdate(as_context(context_.get()), bytes.data(), bytes.size()) == 1;
}

std::string Sha256::finish_hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned length = 0;
  if (!ok_ || EVP_DigestFinal_ex(as_context(context_.get()), raw.data(), &length) != 1) return {};
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += kDigits[raw[i] >> 4];
    hex += kDigits[raw[i] & 15];
  }
  return hex;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish_hex();
}

bool is_sha256_hex(std::string_view text) noexcept {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Result<SparseDigest> digest_sparse_file(int fd, const std::string& name, const CallCheck& check) {
  const auto size = file_size(fd, name);
  if (!size) return fail(size.error());
  SparseDigest digest{{}, *size, 0};
  Sha256 hash;
  std::vector<std::byte> chunk(kChunkBytes);
  uint64_t offset = 0;
  for (;;) {
    const auto extent = next_data(fd, offset, *size, name);
    if (!extent) return fail(extent.error());
    if (extent->begin == extent->end) break;
    for (offset = extent->begin; offset < extent->end;) {
      if (auto go_on = check(); !go_on) return fail(go_on.error());
      const auto piece = std::span(chunk).first(
          static_cast<size_t>(std::min<uint64_t>(kChunkBytes, extent->end - offset)));
      if (auto got = read_full(fd, piece, offset, name); !got) return fail(got.error());
      hash_blocks(hash, piece, offset, digest.data_bytes);
      offset += piece.size();
    }
  }
  hash.update(little_endian(*size));
  digest.sha256 = hash.finish_hex();
  if (digest.sha256.empty()) return fail(ErrorCode::out_of_memory, "sha256 of " + name);
  return digest;
}

}  // namespace microvm::host
