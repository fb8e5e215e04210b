// What a process may ask of the kernel, as a list that is built in the order in which it is asked
// (seccomp(2)). Whatever it does not name fails with EPERM.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.hpp"

namespace microvm::sys {

// A program that is built from its tests: each falls through to the next one.
class SeccompFilter {
 public:
  // AUDIT_ARCH_…: calls of another architecture end the process.
  explicit SeccompFilter(uint32_t audit_arch);

  void allow(uint32_t number);
  // When the low half of the argument, with `mask`, is `value`.
  void allow_if(uint32_t number, unsigned argument, uint32_t mask, uint32_t value);

  // For all threads of the process, for good. Error unsupported: this kernel has no such filters;
  // `who` begins the message.
  Result<void> apply(const char* who);

 private:
  void add(unsigned code, uint32_t value, uint8_t if_true, uint8_t if_false);
  void load(size_t offset);
  void load_number();
  void answer(uint32_t action);

  std::vector<sock_filter> code_;
};

}  // namespace microvm::sys
