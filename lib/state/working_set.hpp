// Which pages of a snapshot's memory its clones touch until their first program has run: recorded
// once per image, brought in at once by each clone. A file in the form of sections.hpp with one
// section, whose body is
//   u64 memory bytes, u32 written ranges, u32 read ranges, then for each u32 first page, u32 pages
// The file is untrusted: what parse_working_set() gives lies inside the memory, in order, without
// overlaps, and is not longer than the bounds below.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.hpp"
#include "wire/bytes.hpp"

namespace microvm::state {

inline constexpr uint64_t kWorkingSetPage = 4096;
inline constexpr uint32_t kMaxWorkingSetRanges = 1u << 15;
inline constexpr uint64_t kMaxWorkingSetBytes = 512u << 10;  // of the file

struct PageSpan {
  uint32_t first = 0;
  uint32_t pages = 0;

  bool operator==(const PageSpan&) const = default;
};

struct WorkingSet {
  uint64_t memory_bytes = 0;
  std::vector<PageSpan> written;
  std::vector<PageSpan> read;
};

[[nodiscard]] wire::Bytes encode_working_set(const WorkingSet& set);

// Errors: corrupt, also for a set of another memory size; unsupported (a newer version).
[[nodiscard]] Result<WorkingSet> parse_working_set(wire::ByteView bytes, uint64_t memory_bytes);

}  // namespace microvm::state
