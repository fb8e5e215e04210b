// Which pages of a private mapping hold something that is not in the file behind it (or, without a
// file, that is not zero for never having been touched). Running machines pay nothing for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/fd.hpp"
#include "vmm/memory/page_ranges.hpp"

namespace microvm::vmm {

class PageScan {
 public:
  // Both give the same answer. scan: one ioctl, since kernel 6.7; entries: eight bytes are read for
  // each page, some 7 ms for each GiB of memory, holes included. Larger reads do not help (the
  // kernel goes by 2 MiB), and neither does a first look before the pause: what was written since
  // only a second look at every page tells.
  enum class Way { scan_or_entries, entries };
  // Opens the process's page map, where there is one.
  static PageScan open(Way way = Way::scan_or_entries);

  // In order, touching ranges joined; offsets are from the start of `memory`, which begins and ends
  // at a page. The whole memory where there is no page map.
  [[nodiscard]] PageRanges written(std::span<const std::byte> memory) const;

  // What is mapped in this process: private copies, and pages of the file (also those the kernel
  // mapped on its own because their neighbour was read). Empty where there is no page map.
  struct Touched {
    PageRanges written;
    PageRanges read;
  };
  [[nodiscard]] std::optional<Touched> touched(std::span<const std::byte> memory) const;

 private:
  enum class Kind { private_copy, file_page };
  [[nodiscard]] std::optional<PageRanges> find(std::span<const std::byte> memory, Kind kind) const;
  [[nodiscard]] std::optional<PageRanges> scan(uint64_t begin, uint64_t end, Kind kind) const;
  [[nodiscard]] std::optional<PageRanges> read_entries(uint64_t begin, uint64_t end,
                                                       Kind kind) const;

  base::Fd page_map_;
  Way way_ = Way::scan_or_entries;
};

}  // namespace microvm::vmm
