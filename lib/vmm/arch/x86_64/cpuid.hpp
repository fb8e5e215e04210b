// The processor the guest sees, as a CPUID table, and whether this host can be that processor.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "vmm/kvm/kvm.hpp"
#include "wire/bytes.hpp"

namespace microvm::vmm::x86_64 {

// The table of vCPU 0; for_vcpu() puts another's APIC id in.
class CpuidTable {
 public:
  // Whose processor it is. A new guest gets all KVM can give, less what we do not save or want
  // (nested virtualization, PMU, asynchronous page faults; shown_features.hpp), with our topology:
  // one socket, one thread per core. The guest of a snapshot may have been shown more, by a library
  // that hid less.
  enum class Guest { fresh, of_snapshot };
  static CpuidTable for_host(const kvm::Kvm& kvm, uint16_t vcpus, Guest guest = Guest::fresh);
  // The same from an explicit list of what KVM can give.
  static CpuidTable make(std::span<const kvm_cpuid_entry2> supported, bool tsc_deadline,
                         uint16_t vcpus, Guest guest = Guest::fresh);

  [[nodiscard]] std::vector<kvm_cpuid_entry2> for_vcpu(uint32_t index) const;
  [[nodiscard]] std::span<const kvm_cpuid_entry2> entries() const { return entries_; }

  // All the bits XCR0 may have; 0 without XSAVE.
  [[nodiscard]] uint64_t xcr0() const;

  // Whether the guest may read IA32_ARCH_CAPABILITIES.
  [[nodiscard]] bool shows_arch_capabilities() const;

  // The body of state::SectionId::cpuid.
  [[nodiscard]] wire::Bytes encode() const;
  static Result<CpuidTable> decode(wire::ByteView body);

  // Equal tables need no KVM_SET_CPUID2 on a vCPU that already has one.
  bool operator==(const CpuidTable& other) const;

 private:
  std::vector<kvm_cpuid_entry2> entries_;
};

// Makes the vCPU with this index the processor of the table. One ioctl.
[[nodiscard]] Result<void> set_cpu(kvm::Vcpu& vcpu, const CpuidTable& table, uint32_t index);

inline constexpr uint16_t kCpuidVersion = 1;
inline constexpr size_t kMaxCpuidEntries = 256;

// What a guest that saw `snapshot` may use and a guest of `host` may not, by name as in
// /proc/cpuinfo ("avx512f"), a foreign vendor and XSAVE components of another size included. Empty:
// the snapshot can run here.
[[nodiscard]] std::vector<std::string> missing_features(const CpuidTable& snapshot,
                                                        const CpuidTable& host);

// Whether the guest sees a feature, by the same names.
[[nodiscard]] bool has_feature(const CpuidTable& table, std::string_view name);

// Error incompatible_cpu with the list, for a message.
[[nodiscard]] Result<void> check_compatible(const CpuidTable& snapshot, const CpuidTable& host);

}  // namespace microvm::vmm::x86_64
