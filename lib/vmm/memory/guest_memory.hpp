// The guest's physical memory as the worker sees it, and the one function that turns a guest
// address into a pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vmm/memory/overlay_plan.hpp"
#include "vmm/memory/page_scan.hpp"

namespace microvm::vmm {

// RAM is one range below the MMIO hole and, beyond it, a second one from 4 GiB on.
inline constexpr uint64_t kMmioHoleStart = 0xC000'0000;  // 3 GiB
inline constexpr uint64_t kMmioHoleEnd = 0x1'0000'0000;  // 4 GiB
inline constexpr uint64_t kPageSize = 4096;

struct MemoryRegion {
  uint64_t guest_address = 0;
  uint64_t size = 0;
  std::byte* host = nullptr;
  uint64_t file_offset = 0;  // where the region stands in a memory snapshot file
};

class GuestMemory {
 public:
  // Pieces of an overlay that are mapped. The kernel allows a process 65530 mappings, a piece may
  // make two more of them, and a machine has at most four overlays (wire/control.hpp).
  static constexpr size_t kMaxOverlayRanges = 4096;

  // Reserves address space only; the regions' host addresses stay the same for life, so KVM's
  // memory slots can be made before it is known what backs them. `bytes`: a multiple of 2 MiB.
  // The addresses behind, up to `limit_bytes`, are kept free as well, so that memory which comes
  // later stands behind the last region, here, in the files and, from 4 GiB on, in the guest, and
  // nothing moves for it. 0: there comes none.
  static Result<GuestMemory> reserve(uint64_t bytes, uint64_t limit_bytes = 0);
  GuestMemory(GuestMemory&&) noexcept;
  GuestMemory& operator=(GuestMemory&&) noexcept;
  ~GuestMemory();

  // Backs all regions with private zero pages (cold boot).
  Result<void> back_with_zeros();
  // Backs all regions with a private copy-on-write mapping of a snapshot's raw memory file, which
  // must be exactly size() long (error corrupt).
  Result<void> back_with_file(int fd);
  // Lays the pages of an overlay (state/overlay.hpp) over what backs the memory so far, as private
  // copy-on-write mappings too, or copies where those cost less (overlay_plan.hpp). Untrusted:
  // error corrupt. After a failure the memory is of no further use.
  Result<void> add_overlay(int fd);

  // The pages written since the memory was backed. Overlays do not count as written.
  [[nodiscard]] PageRanges written_ranges() const;
  // The pages that came from an overlay.
  [[nodiscard]] const PageRanges& overlay_ranges() const noexcept { return overlay_ranges_; }
  // The pages that may hold anything but zeros: the two above, and the data of the file behind.
  [[nodiscard]] Result<PageRanges> data_ranges() const;

  // What this process has touched of memory backed by a file, by itself or through the guest.
  // Empty where the kernel cannot tell.
  [[nodiscard]] std::optional<PageScan::Touched> touched() const {
    return page_scan_.touched({regions_.front().host, size_});
  }
  // Maps pages as if they had been read or written, faster than that would be: a fault each is
  // spared. `offset` and `length` as in a memory snapshot file, whole pages. What cannot be brought
  // in stays as it is.
  enum class Access { read, write };
  void bring_in(uint64_t offset, uint64_t length, Access access) noexcept;

  // The only way from a guest address to a pointer: null unless all `length` bytes lie in one
  // region.
  [[nodiscard]] std::byte* translate(uint64_t guest_address, uint64_t length) const noexcept;

  // Checked copies for fields the guest may change at any time: read once, then use the copy.
  template <class T>
  [[nodiscard]] bool read(uint64_t guest_address, T& out) const noexcept {
    return read_bytes(guest_address, std::as_writable_bytes(std::span(&out, 1)));
  }
  template <class T>
  [[nodiscard]] bool write(uint64_t guest_address, const T& value) noexcept {
    return write_bytes(guest_address, std::as_bytes(std::span(&value, 1)));
  }
  [[nodiscard]] bool read_bytes(uint64_t guest_address, std::span<std::byte> out) const noexcept;
  [[nodiscard]] bool write_bytes(uint64_t guest_address, std::span<const std::byte> in) noexcept;

  [[nodiscard]] std::span<const MemoryRegion> regions() const noexcept { return regions_; }
  [[nodiscard]] uint64_t size() const noexcept { return size_; }

 private:
  GuestMemory() = default;
  [[nodiscard]] IsZero zeros_around(int overlay, bool only) const;
  Result<void> map_overlay(int fd, const PageRange& range);
  Result<void> copy_overlay(int fd, const PageRanges& ranges);
  [[nodiscard]] PageRanges unchanged_copies() const;
  std::vector<MemoryRegion> regions_;
  std::byte* reservation_ = nullptr;
  uint64_t reserved_bytes_ = 0;
  uint64_t size_ = 0;
  PageScan page_scan_;
  base::Fd file_;  // behind the memory, if any
  PageRanges overlay_ranges_;
  // What was copied of an overlay: it is as if it was mapped until the guest writes to it.
  struct Copies {
    base::Fd file;
    PageRanges ranges;
  };
  std::vector<Copies> copies_;
};

}  // namespace microvm::vmm
