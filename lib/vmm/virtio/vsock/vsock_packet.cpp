#include "vmm/virtio/vsock/vsock_packet.hpp"

#include <algorithm>
#include <cstring>

namespace microvm::vmm {

bool read_header(const Chain& chain, VsockHeader& header) {
  if (chain.readable_bytes < kVsockHeaderBytes) return false;
  auto* out = reinterpret_cast<std::byte*>(&header);
  size_t left = kVsockHeaderBytes;
  for (const iovec& buffer : chain.readable) {
    const size_t step = std::min(left, buffer.iov_len);
    std::memcpy(out, buffer.iov_base, step);
    out += step;
    left -= step;
    if (left == 0) break;
  }
  return left == 0;
}

void write_header(const Chain& chain, const VsockHeader& header) {
  const auto* in = reinterpret_cast<const std::byte*>(&header);
  size_t left = kVsockHeaderBytes;
  for (const iovec& buffer : chain.writable) {
    const size_t step = std::min(left, buffer.iov_len);
    std::memcpy(buffer.iov_base, in, step);
    in += step;
    left -= step;
    if (left == 0) break;
  }
}

void append_slice(std::span<const iovec> buffers, size_t skip, size_t length,
                  std::vector<iovec>& out) {
  for (const iovec& buffer : buffers) {
    if (length == 0) return;
    const size_t passed = std::min(skip, buffer.iov_len);
    skip -= passed;
    const size_t step = std::min(length, buffer.iov_len - passed);
    if (step > 0) out.push_back({static_cast<std::byte*>(buffer.iov_base) + passed, step});
    length -= step;
  }
}

}  // namespace microvm::vmm
