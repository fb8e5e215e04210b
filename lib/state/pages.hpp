// The changed pages of a guest's memory at rest. Their working form is an overlay (overlay.hpp). A
// page of zeros replaces what is below too, unlike in frames.hpp, where zero is a hole. The file is
//   header  magic "MVMPAGES", u32 format version, u32 frame bytes, u64 memory bytes, u64 changed
//           pages, u64 index offset, u32 runs, u32 crc32c of the index, u32 crc32c of the header
//           so far
//   frames  each one zstd frame of `frame bytes` (the last one: the rest) of the changed pages
//           written one after the other, in any order
//   index   per run of changed pages, sorted and disjoint: u64 first page, u32 pages; then per
//           frame: u64 file offset, u32 stored length, u32 crc32c of the stored
// all little-endian. The header is written last: a file whose writer died is not one. The file is
// untrusted input; checksums are checked before anything is unpacked.
//
// An overlay in memory (memfd) is read with read(), not through a mapping of its holes: a page
// fault on a hole of such a file makes it data.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/error.hpp"
#include "state/frame_codec.hpp"
#include "state/page_runs.hpp"

namespace microvm::state {

struct PackPagesOptions {
  uint32_t frame_bytes = 512 * 1024;  // a power of two from kMinFrameBytes to kMaxFrameBytes
  int zstd_level = 1;
  unsigned threads = 1;
  uint64_t memory_bytes = 0;                // 0: as long as the overlay, which has no page list
  const std::atomic<bool>* stop = nullptr;  // looked at before each frame; may be set by any thread
};

struct PackPagesResult {
  uint64_t pages = 0;
  uint64_t stored_bytes = 0;  // of the whole packed file
};

// Overlay → at rest. `packed_fd`: an empty regular file. Reads only the overlay's pages, which
// nobody changes meanwhile. Neither fd is closed or synced; on failure the output's content is
// undefined. Errors: cancelled, out_of_disk, out_of_memory, io, invalid_argument, corrupt.
Result<PackPagesResult> pack_pages(int overlay_fd, int packed_fd,
                                   const PackPagesOptions& options = {});

// At rest → into an overlay that is `memory_bytes` long (make_sparse). Pages replace what is there.
// Every page is written, also one of zeros, and which they are is the result: it is for the caller
// to append the list. But those that are `covered` stay as they are, and a frame of only such ones
// is not looked at: a chain is unpacked newest first, and nothing of it twice. On failure some are
// written, and none when the index is bad. Errors: corrupt, unsupported, out_of_disk,
// out_of_memory, io, invalid_argument.
Result<PageRuns> unpack_pages(int packed_fd, int overlay_fd, uint64_t memory_bytes,
                              unsigned threads = 1, const PageRuns& covered = PageRuns());

}  // namespace microvm::state
