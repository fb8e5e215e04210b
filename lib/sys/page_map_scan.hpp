// PAGEMAP_SCAN, an ioctl on a process's page map: <linux/fs.h> of kernel 6.7 and later. Debian 12
// builds against 6.1.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace microvm::sys {

struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};

struct PageMapScan {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};
static_assert(sizeof(PageMapScan) == 96);

inline constexpr unsigned long kPageMapScan = _IOWR('f', 16, PageMapScan);
inline constexpr uint64_t kPageIsFile = 1 << 2;
inline constexpr uint64_t kPageIsPresent = 1 << 3;
inline constexpr uint64_t kPageIsSwapped = 1 << 4;

}  // namespace microvm::sys
