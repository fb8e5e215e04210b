#include "vmm/snapshot/capture.hpp"

#include <algorithm>

#include "state/memory_file.hpp"
#include "sys/file.hpp"
#include "vmm/snapshot/collect.hpp"
#include "vmm/snapshot/overlay_writer.hpp"

namespace microvm::vmm::snapshot {
namespace {

// A guest whose writes are far apart has many pieces. What lies between them is not written: what
// that would spare who starts from them, GuestMemory::add_overlay() spares in other ways, and here
// a guest stands still meanwhile. But the bytes of a list, and of all that are joined with it, are
// bounded.
constexpr GapFilling kFilling{
    .narrow = 0, .wide = 0, .enough = SIZE_MAX, .most = kMaxCaptureRanges};

// `also`: what was chosen before, while the guest ran.
PageRanges choose(const GuestMemory& memory, Pages pages, const PageRanges& also = {}) {
  PageRanges ranges = join(memory.written_ranges(), also);
  if (pages == Pages::and_overlays) ranges = join(std::move(ranges), memory.overlay_ranges());
  return fill_gaps(std::move(ranges), kFilling);
}

Result<void> prepare_files(Machine& machine, int pages, int state) {
  if (auto ok = check_state_file(state); !ok) return ok;
  return state::make_sparse(pages, machine.memory().size());
}

Result<uint64_t> write_pages(OverlayWriter& overlay, const PageRanges& ranges, bool list_pages) {
  if (!list_pages) return overlay.write_without_list(ranges);
  for (const PageRange& range : ranges) {
    if (auto ok = overlay.write(range); !ok) return base::fail(ok.error());
  }
  if (auto ok = overlay.append_list(ranges); !ok) return base::fail(ok.error());
  return total_bytes(ranges);
}

Result<void> write_state(Machine& machine, int fd) {
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  return sys::pwrite_full(fd, *bytes, 0);
}

}  // namespace

Result<Captured> capture(Machine& machine, const CaptureFiles& files,
                         const CaptureOptions& options) {
  const GuestMemory& memory = machine.memory();
  if (auto ok = prepare_files(machine, files.pages, files.state); !ok) {
    return base::fail(ok.error());
  }
  OverlayWriter overlay(memory, files.pages);
  PageRanges before;
  if (options.short_pause) before = choose(memory, options.pages);
  if (auto ok = overlay.make_room(before); !ok) return base::fail(ok.error());

  Captured captured{.stopped = std::chrono::steady_clock::now()};
  if (auto ok = machine.quiesce(); !ok) return base::fail(ok.error());
  const auto bytes = collect_state(machine);
  if (!bytes) return base::fail(bytes.error());
  const auto page_bytes =
      write_pages(overlay, choose(memory, options.pages, before), options.list_pages);
  if (!page_bytes) return base::fail(page_bytes.error());
  captured.page_bytes = *page_bytes;
  if (auto ok = sys::pwrite_full(files.state, *bytes, 0); !ok) return base::fail(ok.error());
  return captured;
}

Result<LateCapture> LateCapture::take(Machine& machine, base::Fd pages, base::Fd state,
                                      Pages which) {
  if (auto ok = prepare_files(machine, pages.get(), state.get()); !ok) {
    return base::fail(ok.error());
  }
  const auto stopped = std::chrono::steady_clock::now();
  if (auto ok = machine.drain(); !ok) return base::fail(ok.error());
  if (machine.has_ended()) return base::fail(ErrorCode::vm_gone, "the vm has ended");
  return LateCapture(std::move(pages), std::move(state), choose(machine.memory(), which), stopped);
}

// In steps, so that whoever wants the guest to go on is not kept waiting.
Result<bool> LateCapture::write_some(Machine& machine) {
  constexpr uint64_t kStepBytes = 1 << 20;
  if (!std::exchange(state_written_, true)) {
    if (auto ok = write_state(machine, state_.get()); !ok) return base::fail(ok.error());
  }
  OverlayWriter overlay(machine.memory(), pages_.get());
  for (uint64_t budget = kStepBytes; next_ < ranges_.size() && budget > 0;) {
    const PageRange& range = ranges_[next_];
    const PageRange piece{range.offset + written_, std::min(range.length - written_, budget)};
    if (auto ok = overlay.write(piece); !ok) return base::fail(ok.error());
    budget -= piece.length;
    written_ += piece.length;
    if (written_ < range.length) break;
    written_ = 0;
    ++next_;
  }
  if (next_ < ranges_.size()) return false;
  if (auto ok = overlay.append_list(ranges_); !ok) return base::fail(ok.error());
  return true;
}

}  // namespace microvm::vmm::snapshot
