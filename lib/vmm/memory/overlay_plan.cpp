#include "vmm/memory/overlay_plan.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

namespace microvm::vmm {
namespace {

// On a 2-core EPYC with a paravirtual KVM a mapping took 4.7 to 5.0 us of the processor, however
// long it was, a page copied 3.1 to 3.4, two 6.1: so a single page is copied, which also spares the
// fault of its first use. A copy is a page of this clone alone, though: a few mappings more are no
// matter, and of the copies there are no more than are worth their memory.
constexpr uint64_t kCopyBytes = 4096;
constexpr size_t kFewPieces = 64;
constexpr size_t kMaxCopies = 1024;
// Zeros between two pieces become part of one mapping for a look into two files (0.2 us each). A
// page of them that the guest writes to then takes two: the file's own, as with every hole of a
// file in memory, and here nobody shares that one. So only narrow ones do.
constexpr uint64_t kNarrowBytes = 16 * 4096;

// Ranges of the overlay that one mapping covers.
struct Piece {
  PageRange covers;
  uint64_t bytes = 0;  // of the overlay's own pages
  std::span<const PageRange> ranges;
};

std::vector<Piece> bridge(const PageRanges& ranges, const IsZero& is_zero) {
  std::vector<Piece> pieces;
  const auto joins = [&](const PageRange& range) {
    if (pieces.empty() || ranges.size() <= kFewPieces) return false;
    const uint64_t end = pieces.back().covers.end();
    const PageRange gap{end, range.offset - end};
    return gap.length <= kNarrowBytes && is_zero(gap);
  };
  for (const PageRange& range : ranges) {
    if (!joins(range)) pieces.push_back({{range.offset, 0}, 0, {&range, 0}});
    Piece& piece = pieces.back();
    piece.covers.length = range.end() - piece.covers.offset;
    piece.bytes += range.length;
    piece.ranges = {piece.ranges.data(), piece.ranges.size() + 1};
  }
  return pieces;
}

}  // namespace

OverlayPlan plan_overlay(const PageRanges& ranges, size_t most, const IsZero& is_zero) {
  std::vector<Piece> pieces = bridge(ranges, is_zero);
  std::ranges::stable_sort(pieces, std::ranges::greater(), &Piece::bytes);
  OverlayPlan plan;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const bool is_cheaper =
        i >= kFewPieces && piece.bytes <= kCopyBytes && plan.copied.size() < kMaxCopies;
    const bool copied = i >= most || is_cheaper;
    if (copied) {
      plan.copied.insert(plan.copied.end(), piece.ranges.begin(), piece.ranges.end());
    } else {
      plan.mapped.push_back(piece.covers);
    }
  }
  plan.mapped = join(std::move(plan.mapped), {});
  plan.copied = join(std::move(plan.copied), {});
  return plan;
}

bool HoleFinder::is_hole(const PageRange& range) {
  if (range.offset >= hole_.offset && range.end() <= hole_.end()) return true;
  const off_t data = ::lseek(fd_, static_cast<off_t>(range.offset), SEEK_DATA);
  if (data < 0 && errno != ENXIO) return false;
  // Without any data behind it, all that follows is a hole.
  const uint64_t end = data < 0 ? UINT64_MAX : static_cast<uint64_t>(data);
  hole_ = {range.offset, end - range.offset};
  return range.end() <= end;
}

}  // namespace microvm::vmm
