// Taking fixed parts off a chain's ends; drivers may cut buffers wherever they like.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "vmm/virtio/queue.hpp"

namespace microvm::vmm {

// Copies the first readable bytes into `out` and removes them. False: there are too few.
[[nodiscard]] inline bool take_front_bytes(Chain& chain, std::span<std::byte> out) {
  if (chain.readable_bytes < out.size()) return false;
  std::byte* to = out.data();
  size_t left = out.size();
  auto used = chain.readable.begin();
  while (left > 0) {
    const size_t part = std::min(left, used->iov_len);
    std::memcpy(to, used->iov_base, part);
    to += part;
    left -= part;
    used->iov_base = static_cast<std::byte*>(used->iov_base) + part;
    used->iov_len -= part;
    if (used->iov_len == 0) ++used;
  }
  chain.readable.erase(chain.readable.begin(), used);
  chain.readable_bytes -= static_cast<uint32_t>(out.size());
  return true;
}
template <class T>
  requires std::is_trivially_copyable_v<T>
[[nodiscard]] bool take_front(Chain& chain, T& out) {
  return take_front_bytes(chain, std::as_writable_bytes(std::span(&out, 1)));
}

// Removes the last writable byte; null when there is none.
[[nodiscard]] inline std::byte* take_last_byte(Chain& chain) {
  if (chain.writable.empty()) return nullptr;
  iovec& last = chain.writable.back();
  --last.iov_len;
  --chain.writable_bytes;
  std::byte* byte = static_cast<std::byte*>(last.iov_base) + last.iov_len;
  if (last.iov_len == 0) chain.writable.pop_back();
  return byte;
}

// Copies as much as fits; the number of bytes.
[[nodiscard]] inline uint32_t copy_to(std::span<const iovec> buffers,
                                      std::span<const std::byte> from) {
  uint32_t copied = 0;
  for (const iovec& buffer : buffers) {
    const size_t part = std::min(buffer.iov_len, from.size());
    std::memcpy(buffer.iov_base, from.data(), part);
    from = from.subspan(part);
    copied += static_cast<uint32_t>(part);
  }
  return copied;
}

}  // namespace microvm::vmm
