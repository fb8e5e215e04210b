// Which pages of a guest's memory a set holds: sorted runs that do not touch. Written one after the
// other, those pages are a sequence of their own; runs translate between the two.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/error.hpp"

namespace microvm::state {

struct PageRun {
  uint64_t first_page = 0;  // in the guest's memory
  uint32_t pages = 0;
};

class PageRuns {
 public:
  // `memory_pages` is at most kMaxMemoryBytes / kPageBytes.
  explicit PageRuns(uint64_t memory_pages = 0) : memory_pages_(memory_pages) {}

  // False, and nothing changes, unless the run is not empty, begins behind the last one and ends
  // inside the memory. One that begins where the last one ends becomes part of it.
  [[nodiscard]] bool append(uint64_t first_page, uint64_t pages);

  [[nodiscard]] uint64_t page_count() const { return page_count_; }
  [[nodiscard]] size_t size() const { return runs_.size(); }
  [[nodiscard]] PageRun operator[](size_t i) const { return runs_[i].run; }

  // Calls `visit` for each piece of memory that holds the pages [position, position + pages) of the
  // sequence, in order. The range lies inside of it. An error of `visit` ends the walk.
  using Visit = std::function<Result<void>(PageRun piece)>;
  Result<void> for_each_piece(uint64_t position, uint64_t pages, const Visit& visit) const;

  // The same for each piece of `run` that is in none of these runs.
  Result<void> for_each_missing(PageRun run, const Visit& visit) const;

 private:
  struct Entry {
    PageRun run;
    uint64_t position = 0;  // of its first page in the sequence
  };
  uint64_t memory_pages_;
  uint64_t page_count_ = 0;
  std::vector<Entry> runs_;
};

// What is in any of these sets, each of a memory of `memory_pages`.
[[nodiscard]] PageRuns join(const std::vector<PageRuns>& sets, uint64_t memory_pages);

}  // namespace microvm::state
