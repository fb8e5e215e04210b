// How many pages KVM has mapped for a guest, by its own count (KVM API, KVM_GET_STATS_FD).
#pragma once

#include <cstdint>
#include <optional>

#include "base/fd.hpp"

namespace microvm::vmm::kvm {

class PageCount {
 public:
  // `vm`: of a Vm. Empty: this kernel does not count them (Linux before 5.14).
  static std::optional<PageCount> open(int vm);
  // Of 4 KiB. Empty: it cannot be read.
  [[nodiscard]] std::optional<uint64_t> mapped() const;

 private:
  PageCount(base::Fd stats, uint64_t at) : stats_(std::move(stats)), at_(at) {}

  base::Fd stats_;
  uint64_t at_;  // of the number in what the descriptor reads
};

}  // namespace microvm::vmm::kvm
