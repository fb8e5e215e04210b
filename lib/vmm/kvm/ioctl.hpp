// The one place that calls ioctl() for KVM. Private to this folder.
#pragma once

#include <linux/kvm.h>
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

// <linux/kvm.h> of Linux 6.1 declares flexible arrays in a way that makes these structs, and with
// them the request numbers, too large in C++. So both are spelt out here.
struct CountHeader {
  uint32_t count = 0;
  uint32_t padding = 0;
};
inline constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);
inline constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CountHeader);
inline constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, CountHeader);
inline constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, CountHeader);
inline constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, CountHeader);

inline constexpr size_t kMinXsaveBytes = 4096;
struct MinXsave {
  std::byte bytes[kMinXsaveBytes];
};
inline constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, MinXsave);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, MinXsave);
inline constexpr unsigned long kGetXsave2 = _IOR(KVMIO, 0xcf, MinXsave);

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

// The structs without flexible arrays are as they should be.
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_sregs) == 312);
static_assert(sizeof(kvm_irqchip) == 520 && sizeof(kvm_lapic_state) == 1024);
static_assert(sizeof(kvm_xcrs) == 392 && sizeof(kvm_vcpu_events) == 64);

// A KVM struct that is a header and `count` entries behind it.
template <class Header, class Entry>
class Table {
 public:
  explicit Table(size_t count) : storage_(sizeof(Header) + count * sizeof(Entry)) {
    const auto number = static_cast<uint32_t>(count);
    std::memcpy(storage_.data(), &number, sizeof number);
  }
  [[nodiscard]] void* data() { return storage_.data(); }
  [[nodiscard]] uint32_t count() const {
    uint32_t number = 0;
    std::memcpy(&number, storage_.data(), sizeof number);
    return number;
  }
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
using CpuidBuffer = Table<CountHeader, kvm_cpuid_entry2>;
using MsrBuffer = Table<CountHeader, kvm_msr_entry>;
using MsrIndexBuffer = Table<uint32_t, uint32_t>;

}  // namespace microvm::vmm::kvm
