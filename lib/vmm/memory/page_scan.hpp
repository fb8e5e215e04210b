// Which pages of a private mapping hold something that is not in the file behind it (or, without a
// file, that is not zero for never having been touched). Running machines pay nothing for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::vmm {

class PageScan {
 public:
  // Opens the process's page map, where there is one.
  static PageScan open();

  struct Range {
    uint64_t offset = 0;  // in the memory
    uint64_t length = 0;
  };
  // In order. The whole memory where the kernel cannot tell (before 6.7) or /proc is missing.
  [[nodiscard]] std::vector<Range> written(std::span<const std::byte> memory) const;

 private:
  base::Fd page_map_;
};

}  // namespace microvm::vmm
