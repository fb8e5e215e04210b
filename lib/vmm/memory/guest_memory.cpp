#include "vmm/memory/guest_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "base/checked.hpp"
#include "state/overlay.hpp"
#include "sys/file.hpp"
#include "wire/shape.hpp"

namespace microvm::vmm {
namespace {

// Host and guest addresses agree modulo 2 MiB, so KVM may use large pages where the kernel gives
// them. The reservation is that much longer; the rest stays unused address space.
constexpr uint64_t kAlignment = wire::kMemoryStep;

std::byte* aligned(std::byte* address) {
  const auto value = reinterpret_cast<uintptr_t>(address);
  return address + (-value & (kAlignment - 1));
}

std::vector<MemoryRegion> lay_out(uint64_t bytes, std::byte* host) {
  std::vector<MemoryRegion> regions;
  const uint64_t low = std::min(bytes, kMmioHoleStart);
  regions.push_back({.guest_address = 0, .size = low, .host = host, .file_offset = 0});
  if (bytes > low) {
    regions.push_back({.guest_address = kMmioHoleEnd,
                       .size = bytes - low,
                       .host = host + low,
                       .file_offset = low});
  }
  return regions;
}

// What a snapshot file must be to back this memory.
Result<void> check_file(int fd, const char* name, uint64_t size) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return base::fail_errno(std::string("stat ") + name);
  if (!S_ISREG(info.st_mode)) {
    return base::fail(ErrorCode::corrupt, std::string(name) + " is not a regular file");
  }
  if (std::cmp_equal(info.st_size, size)) return {};
  return base::fail(ErrorCode::corrupt, std::string(name) + " has " + std::to_string(info.st_size) +
                                            " bytes, the machine " + std::to_string(size));
}

PageRanges to_ranges(const state::PageRuns& runs) {
  PageRanges ranges;
  for (size_t i = 0; i < runs.size(); ++i) {
    ranges.push_back({runs[i].first_page * kPageSize, runs[i].pages * kPageSize});
  }
  return ranges;
}

// Whether the file's data can be no more than these bytes and what stands behind the memory, which
// spares a look at each gap.
bool has_only(int overlay, uint64_t bytes, uint64_t memory_bytes) {
  constexpr uint64_t kStatBlock = 512;
  struct stat file{};
  if (::fstat(overlay, &file) != 0 || std::cmp_greater(file.st_blksize, kPageSize)) return false;
  const uint64_t list = static_cast<uint64_t>(file.st_size) - memory_bytes;
  const uint64_t list_pages = (list + kPageSize - 1) / kPageSize;
  return static_cast<uint64_t>(file.st_blocks) * kStatBlock == bytes + list_pages * kPageSize;
}

}  // namespace

Result<GuestMemory> GuestMemory::reserve(uint64_t bytes, uint64_t limit_bytes) {
  const uint64_t limit = std::max(bytes, limit_bytes);
  if (!wire::is_memory_size(bytes) || !wire::is_memory_size(limit)) {
    return base::fail(ErrorCode::invalid_argument,
                      "guest memory of " + std::to_string(bytes) + " to " + std::to_string(limit) +
                          " bytes: give a multiple of 2 MiB, at most 1 TiB");
  }
  const uint64_t reserved = limit + kAlignment;
  void* address =
      ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return base::fail_errno("reserve guest memory");
  GuestMemory memory;
  memory.reservation_ = static_cast<std::byte*>(address);
  memory.reserved_bytes_ = reserved;
  memory.size_ = bytes;
  memory.page_scan_ = PageScan::open();
  memory.regions_ = lay_out(bytes, aligned(memory.reservation_));
  return memory;
}

GuestMemory::GuestMemory(GuestMemory&& other) noexcept
    : regions_(std::move(other.regions_)),
      reservation_(std::exchange(other.reservation_, nullptr)),
      reserved_bytes_(std::exchange(other.reserved_bytes_, 0)),
      size_(std::exchange(other.size_, 0)),
      page_scan_(std::move(other.page_scan_)),
      file_(std::move(other.file_)),
      overlay_ranges_(std::move(other.overlay_ranges_)),
      copies_(std::move(other.copies_)) {}

GuestMemory& GuestMemory::operator=(GuestMemory&& other) noexcept {
  std::swap(regions_, other.regions_);
  std::swap(reservation_, other.reservation_);
  std::swap(reserved_bytes_, other.reserved_bytes_);
  std::swap(size_, other.size_);
  std::swap(page_scan_, other.page_scan_);
  std::swap(file_, other.file_);
  std::swap(overlay_ranges_, other.overlay_ranges_);
  std::swap(copies_, other.copies_);
  return *this;
}

GuestMemory::~GuestMemory() {
  if (reservation_ != nullptr) ::munmap(reservation_, reserved_bytes_);
}

// The regions are neighbours on the host side, so one call maps them all.
Result<void> GuestMemory::back_with_zeros() {
  void* at = regions_.front().host;
  if (::mmap(at, size_, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
    return base::fail_errno("map guest memory");
  }
  return {};
}

Result<void> GuestMemory::back_with_file(int fd) {
  if (auto ok = check_file(fd, "memory snapshot", size_); !ok) return ok;
  void* at = regions_.front().host;
  if (::mmap(at, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
      MAP_FAILED) {
    return base::fail_errno("map memory snapshot");
  }
  file_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));  // for data_ranges()
  if (!file_) return base::fail_errno("keep memory snapshot");
  return {};
}

Result<void> GuestMemory::add_overlay(int fd) {
  const auto runs = state::read_page_runs(fd, size_);
  if (!runs) return base::fail(runs.error());
  const PageRanges ranges = to_ranges(*runs);
  const bool only = has_only(fd, runs->page_count() * kPageSize, size_);
  const OverlayPlan plan = plan_overlay(ranges, kMaxOverlayRanges, zeros_around(fd, only));
  for (const PageRange& range : plan.mapped) {
    if (auto ok = map_overlay(fd, range); !ok) return ok;
  }
  // What is written from now on over a page of this overlay is not compared with one below it.
  for (Copies& below : copies_) below.ranges = subtract(below.ranges, ranges);
  if (auto ok = copy_overlay(fd, plan.copied); !ok) return ok;
  overlay_ranges_ = join(std::move(overlay_ranges_), ranges);
  return {};
}

// Where neither the file behind the memory, nor an overlay before, nor this one has anything.
// `only`: this one has nothing but its pages.
IsZero GuestMemory::zeros_around(int overlay, bool only) const {
  auto next = overlay_ranges_.begin();
  return [this, next, only, base = HoleFinder(file_.get()),
          above = HoleFinder(overlay)](const PageRange& range) mutable {
    while (next != overlay_ranges_.end() && next->end() <= range.offset) ++next;
    if (next != overlay_ranges_.end() && next->offset < range.end()) return false;
    return base.is_hole(range) && (only || above.is_hole(range));
  };
}

Result<void> GuestMemory::copy_overlay(int fd, const PageRanges& ranges) {
  if (ranges.empty()) return {};
  for (const PageRange& range : ranges) {
    const std::span into(regions_.front().host + range.offset, range.length);
    if (auto ok = sys::pread_full(fd, into, range.offset); !ok) return ok;
  }
  auto file = sys::duplicate(fd, "keep memory overlay");
  if (!file) return base::fail(file.error());
  copies_.push_back({std::move(*file), ranges});
  return {};
}

Result<void> GuestMemory::map_overlay(int fd, const PageRange& range) {
  void* at = regions_.front().host + range.offset;
  if (::mmap(at, range.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
             static_cast<off_t>(range.offset)) != MAP_FAILED) {
    return {};
  }
  return base::fail_errno("map memory overlay");
}

PageRanges GuestMemory::written_ranges() const {
  PageRanges written = page_scan_.written({regions_.front().host, size_});
  return copies_.empty() ? written : subtract(written, unchanged_copies());
}

PageRanges GuestMemory::unchanged_copies() const {
  PageRanges unchanged;
  std::array<std::byte, kPageSize> page;
  for (const Copies& copies : copies_) {
    for (const PageRange& range : copies.ranges) {
      for (uint64_t at = range.offset; at < range.end(); at += kPageSize) {
        if (!sys::pread_full(copies.file.get(), page, at)) continue;
        if (std::memcmp(page.data(), regions_.front().host + at, kPageSize) != 0) continue;
        unchanged.push_back({at, kPageSize});
      }
    }
  }
  return join(std::move(unchanged), {});
}

Result<PageRanges> GuestMemory::data_ranges() const {
  PageRanges ranges = join(written_ranges(), overlay_ranges_);
  if (!file_) return ranges;
  PageRanges in_file;
  const auto done =
      sys::for_each_data_range(file_.get(), [&](uint64_t offset, uint64_t length) -> Result<void> {
        const uint64_t begin = offset & ~(kPageSize - 1);
        const uint64_t end = std::min((offset + length + kPageSize - 1) & ~(kPageSize - 1), size_);
        if (begin < end) in_file.push_back({begin, end - begin});
        return {};
      });
  if (!done) return base::fail(done.error());
  return join(std::move(ranges), in_file);
}

void GuestMemory::bring_in(uint64_t offset, uint64_t length, Access access) noexcept {
  if (!base::range_fits(offset, length, size_)) return;
  const int advice = access == Access::write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  static_cast<void>(::madvise(regions_.front().host + offset, length, advice));
}

std::byte* GuestMemory::translate(uint64_t guest_address, uint64_t length) const noexcept {
  for (const MemoryRegion& region : regions_) {
    if (guest_address < region.guest_address) continue;
    const uint64_t offset = guest_address - region.guest_address;
    if (base::range_fits(offset, length, region.size)) return region.host + offset;
  }
  return nullptr;
}

bool GuestMemory::read_bytes(uint64_t guest_address, std::span<std::byte> out) const noexcept {
  const std::byte* from = translate(guest_address, out.size());
  if (from == nullptr) return false;
  std::ranges::copy_n(from, static_cast<std::ptrdiff_t>(out.size()), out.data());  // may be empty
  return true;
}

bool GuestMemory::write_bytes(uint64_t guest_address, std::span<const std::byte> in) noexcept {
  std::byte* to = translate(guest_address, in.size());
  if (to == nullptr) return false;
  std::ranges::copy(in, to);
  return true;
}

}  // namespace microvm::vmm
