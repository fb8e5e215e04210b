#include <sys/mman.h>

#include <utility>

#include "sys/file.hpp"

namespace microvm::sys {

Mapping::Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<Mapping> Mapping::map(int fd, uint64_t offset, size_t length, int protection, int flags) {
  if (length == 0) return Mapping();
  void* start = ::mmap(nullptr, length, protection, flags, fd, static_cast<off_t>(offset));
  if (start == MAP_FAILED) return base::fail_errno("map file");
  return Mapping(std::span(static_cast<std::byte*>(start), length));
}

Result<Mapping> Mapping::read_only(int fd, uint64_t offset, size_t length) {
  return map(fd, offset, length, PROT_READ, MAP_PRIVATE);
}

Result<Mapping> Mapping::read_write_shared(int fd, uint64_t offset, size_t length) {
  return map(fd, offset, length, PROT_READ | PROT_WRITE, MAP_SHARED);
}

}  // namespace microvm::sys
