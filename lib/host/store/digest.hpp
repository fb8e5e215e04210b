// SHA-256 of bytes and of sparse files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

class Sha256 {
 public:
  Sha256();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  // 64 lower-case hex digits. Empty when OpenSSL failed at any point (out of memory).
  [[nodiscard]] std::string finish_hex();

 private:
  struct Free {
    void operator()(void* context) const noexcept;
  };
  std::unique_ptr<void, Free> context_;
  bool ok_ = false;
};

[[nodiscard]] std::string sha256_hex(std::span<const std::byte> bytes);

// 64 lower-case hex digits and nothing else.
[[nodiscard]] bool is_sha256_hex(std::string_view text) noexcept;

// What a sparse file holds, independent of how its holes lie: SHA-256 over (offset, bytes) of every
// 4 KiB block that is not all zero, then over the size. `name` stands in messages.
struct SparseDigest {
  std::string sha256;
  uint64_t size_bytes = 0;
  uint64_t data_bytes = 0;  // in blocks that are not all zero
};
[[nodiscard]] Result<SparseDigest> digest_sparse_file(int fd, const std::string& name,
                                                      const CallCheck& check);

}  // namespace microvm::host
