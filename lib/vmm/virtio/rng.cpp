#include "vmm/virtio/rng.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace microvm::vmm {
namespace {

constexpr std::array<uint16_t, 1> kRngQueueSizes{64};

size_t fill_random(std::byte* to, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::getrandom(to + filled, size - filled, 0);
    if (got < 0 && errno != EINTR) break;
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return filled;
}

uint32_t fill_random(std::span<const iovec> buffers, uint32_t most) {
  uint32_t filled = 0;
  for (const iovec& buffer : buffers) {
    const size_t size = std::min<size_t>(buffer.iov_len, most - filled);
    const size_t got = fill_random(static_cast<std::byte*>(buffer.iov_base), size);
    filled += static_cast<uint32_t>(got);
    if (got < buffer.iov_len) break;
  }
  return filled;
}

}  // namespace

std::span<const uint16_t> RngDevice::queue_sizes() const {
  return kRngQueueSizes;
}

void RngDevice::process(uint16_t queue) {
  while (host_->pop(queue, chain_)) {
    host_->push(queue, chain_.head, fill_random(chain_.writable, kMaxBytesPerRequest));
  }
}

}  // namespace microvm::vmm
