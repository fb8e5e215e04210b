// Changed pages in their working form, an overlay: a sparse file as long as the guest's memory,
// whose pages replace what is below. Which of its pages do is said by a list behind the memory:
//   magic "MVMPLIST", u32 format version, u32 runs, u32 crc32c of the runs, u32 crc32c of the
//   header so far; then per run, sorted and disjoint: u64 first page, u32 pages
// all little-endian. Not by the file's holes: a file system may have larger blocks than a page (a
// memory file of huge pages, ZFS, XFS), and call the zeros around a written page data. Without a
// list, as of a worker of before, the file's data is what replaces: who wrote it has filled it.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "state/page_runs.hpp"

namespace microvm::state {

// A capture has at most some thousand runs, and at rest there are a few captures above each other.
inline constexpr size_t kMaxOverlayRuns = size_t{1} << 16;

// `overlay_fd` is as long as the memory. Errors: out_of_disk, io, invalid_argument (too many).
Result<void> append_page_list(int overlay_fd, uint64_t memory_bytes, const PageRuns& runs);

// The runs of an overlay for a memory of `memory_bytes`, with a list or without. Untrusted.
// Errors: corrupt, unsupported, io.
Result<PageRuns> read_page_runs(int overlay_fd, uint64_t memory_bytes);

}  // namespace microvm::state
