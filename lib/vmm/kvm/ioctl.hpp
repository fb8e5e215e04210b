// The one place that calls ioctl() for KVM. Private to this folder.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace microvm::vmm::kvm {

// `argument` is what the request's man page says: a pointer to a struct, or a number. KVM only
// reads or writes the size coded in the request, or, for structs with a flexible array, the count
// in its header.
template <class Argument>
[[nodiscard]] int call(int fd, unsigned long request, Argument argument) noexcept {
  int result = 0;
  do {
    result = ::ioctl(fd, request, argument);
  } while (result < 0 && errno == EINTR);
  return result;
}

template <class Argument>
[[nodiscard]] Result<void> check(int fd, unsigned long request, Argument argument,
                                 const char* name) {
  if (call(fd, request, argument) < 0) return base::fail_errno(name);
  return {};
}

template <class Struct>
[[nodiscard]] Result<Struct> fetch(int fd, unsigned long request, const char* name) {
  Struct out{};
  if (call(fd, request, &out) < 0) return base::fail_errno(name);
  return out;
}

// A KVM struct that is a header and `count` entries behind it.
template <class Header, class Entry>
class Table {
 public:
  explicit Table(size_t count) : storage_(sizeof(Header) + count * sizeof(Entry)) {}
  [[nodiscard]] Header* header() { return reinterpret_cast<Header*>(storage_.data()); }
  [[nodiscard]] Entry* entries() {
    return reinterpret_cast<Entry*>(storage_.data() + sizeof(Header));
  }
  void fill(std::span<const Entry> from) {
    if (!from.empty()) std::memcpy(entries(), from.data(), from.size_bytes());
  }

 private:
  static_assert(sizeof(Header) % alignof(Entry) == 0);
  std::vector<std::byte> storage_;
};

}  // namespace microvm::vmm::kvm
