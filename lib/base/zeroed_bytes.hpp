// Zeros that take no memory until they are written to: where they are many (128 KiB), the system
// gives them page by page.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace microvm::base {

class ZeroedBytes {
 public:
  explicit ZeroedBytes(size_t size)
      : bytes_(static_cast<std::byte*>(std::calloc(size, 1))), size_(size) {
    if (bytes_ == nullptr && size > 0) throw std::bad_alloc();
  }

  [[nodiscard]] size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<std::byte> span() noexcept { return {bytes_.get(), size_}; }
  [[nodiscard]] std::span<const std::byte> span() const noexcept { return {bytes_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  size_t size_;
};

}  // namespace microvm::base
