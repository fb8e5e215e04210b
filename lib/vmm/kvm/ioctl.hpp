// The one place that calls ioctl() for KVM. Private to this folder.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <span>
#include <string>

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

// Of Linux 6.11 and later; Debian 12 builds against 6.1.
struct PreFault {
  uint64_t gpa;
  uint64_t size;  // both are moved past what was done
  uint64_t flags;
  uint64_t padding[5];
};
static_assert(sizeof(PreFault) == 64);
inline constexpr unsigned long kPreFaultMemory = _IOWR(KVMIO, 0xd5, PreFault);
inline constexpr int kCapPreFaultMemory = 236;

// A capability without which there is no machine.
struct Needed {
  int capability;
  const char* name;
};
[[nodiscard]] inline Result<void> check_capabilities(int fd, std::span<const Needed> all) {
  for (const Needed& needed : all) {
    if (call(fd, KVM_CHECK_EXTENSION, needed.capability) > 0) continue;
    return base::fail(ErrorCode::kvm_unsuitable, std::string("/dev/kvm lacks the capability ") +
                                                     needed.name + ": use a newer kernel");
  }
  return {};
}

}  // namespace microvm::vmm::kvm
