#include "vmm/snapshot/working_set.hpp"

#include <algorithm>

#include "state/working_set.hpp"
#include "sys/file.hpp"

namespace microvm::vmm::snapshot {
namespace {

using Access = GuestMemory::Access;
using state::PageSpan;

static_assert(state::kWorkingSetPage == kPageSize);

std::vector<PageSpan> to_pages(const PageRanges& ranges, size_t max_ranges) {
  std::vector<PageSpan> pages;
  for (const vmm::PageRange& range : std::span(ranges).first(std::min(ranges.size(), max_ranges))) {
    pages.push_back({static_cast<uint32_t>(range.offset / kPageSize),
                     static_cast<uint32_t>(range.length / kPageSize)});
  }
  return pages;
}

Result<void> check_empty(int fd) {
  if (auto ok = sys::check_regular_file(fd, "working set"); !ok) return ok;
  const auto size = sys::file_size(fd);
  if (!size) return base::fail(size.error());
  if (*size == 0) return {};
  return base::fail(ErrorCode::invalid_argument, "working set: not an empty file");
}

Result<state::WorkingSet> read_file(int fd, uint64_t memory_bytes) {
  if (auto ok = sys::check_regular_file(fd, "working set"); !ok) return base::fail(ok.error());
  const auto size = sys::file_size(fd);
  if (!size) return base::fail(size.error());
  wire::Bytes bytes(std::min(*size, state::kMaxWorkingSetBytes + 1));
  if (auto ok = sys::pread_full(fd, bytes, 0); !ok) return base::fail(ok.error());
  return state::parse_working_set(bytes, memory_bytes);
}

// The first vCPU's memory map is that of all.
void map_for_guest(Machine& machine, uint64_t offset, uint64_t length) {
  auto& vcpu = machine.vcpus().front()->vcpu();
  for (const MemoryRegion& region : machine.memory().regions()) {
    const uint64_t begin = std::max(offset, region.file_offset);
    const uint64_t end = std::min(offset + length, region.file_offset + region.size);
    if (begin < end) vcpu.pre_fault(region.guest_address + begin - region.file_offset, end - begin);
  }
}

// What is mapped for the guest to read comes in by that.
void bring_in(Machine& machine, const std::vector<PageSpan>& ranges, Access access) {
  const bool for_guest = machine.vcpus().front()->vcpu().can_pre_fault();
  for (const PageSpan& range : ranges) {
    const uint64_t offset = range.first * kPageSize;
    const uint64_t length = range.pages * kPageSize;
    if (access == Access::write || !for_guest) machine.memory().bring_in(offset, length, access);
    if (for_guest) map_for_guest(machine, offset, length);
  }
}

// In order.
void add_page(PageRanges& ranges, uint64_t offset) {
  const bool follows = !ranges.empty() && ranges.back().end() == offset;
  if (!follows) ranges.push_back({offset, 0});
  ranges.back().length += kPageSize;
}

// Of those that the host has mapped, the ones that the guest has touched: for one that it reads the
// host maps up to fifteen others beside it, and to map all of them for each clone costs more than
// the guest's faults. KVM maps for the guest what it touches and nothing else, and mapping one of
// these again does not change its count. Where that cannot be told: all of them.
PageRanges touched_by_guest(Machine& machine, const PageRanges& mapped) {
  if (!machine.vcpus().front()->vcpu().can_pre_fault()) return mapped;
  const auto count = machine.vm().count_pages();
  if (!count) return mapped;
  PageRanges touched;
  for (const vmm::PageRange& range : mapped) {
    for (uint64_t at = range.offset; at < range.end(); at += kPageSize) {
      const auto before = count->mapped();
      map_for_guest(machine, at, kPageSize);
      if (count->mapped() == before) add_page(touched, at);
    }
  }
  return touched;
}

}  // namespace

Result<void> record_working_set(Machine& machine, int fd) {
  if (auto ok = check_empty(fd); !ok) return ok;
  const auto touched = machine.memory().touched();
  if (!touched) {
    return base::fail(ErrorCode::unsupported, "this kernel does not tell what pages were touched");
  }
  state::WorkingSet set;
  set.memory_bytes = machine.memory().size();
  set.written = to_pages(touched->written, state::kMaxWorkingSetRanges);
  set.read = to_pages(touched_by_guest(machine, touched->read),
                      state::kMaxWorkingSetRanges - set.written.size());
  return sys::pwrite_full(fd, state::encode_working_set(set), 0);
}

Result<void> bring_in_working_set(Machine& machine, int fd) {
  const auto set = read_file(fd, machine.memory().size());
  if (!set) return base::fail(set.error());
  bring_in(machine, set->written, Access::write);
  bring_in(machine, set->read, Access::read);
  return {};
}

}  // namespace microvm::vmm::snapshot
