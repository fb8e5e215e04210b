// Writes pages of a machine's memory into an overlay (state/overlay.hpp).
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "vmm/memory/guest_memory.hpp"

namespace microvm::vmm::snapshot {

class OverlayWriter {
 public:
  // `fd` is as long as the memory (state::make_sparse). Both outlive this.
  OverlayWriter(const GuestMemory& memory, int fd) : memory_(memory), fd_(fd) {}

  // All of these have to be written. That takes half the time when the file has the page already.
  Result<void> make_room(const PageRanges& ranges);
  // Pages of zeros are written as well: they replace what is below.
  Result<void> write(const PageRange& range);
  // Once all of them are written.
  Result<void> append_list(const PageRanges& ranges);
  // For one who takes the file's data for what replaces. Returns the bytes of it.
  Result<uint64_t> write_without_list(const PageRanges& ranges);

 private:
  [[nodiscard]] bool has_only(uint64_t bytes) const;
  [[nodiscard]] Result<PageRanges> find_extra_data(const PageRanges& ranges) const;

  const GuestMemory& memory_;
  const int fd_;
};

}  // namespace microvm::vmm::snapshot
