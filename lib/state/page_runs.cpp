#include "state/page_runs.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace microvm::state {

bool PageRuns::append(uint64_t first_page, uint64_t pages) {
  if (pages == 0 || !base::range_fits(first_page, pages, memory_pages_)) return false;
  if (!runs_.empty()) {
    PageRun& last = runs_.back().run;
    const uint64_t end = last.first_page + last.pages;
    if (first_page < end) return false;
    if (first_page == end) {
      // No overflow: all runs together are at most the 2^28 pages a memory may have.
      last.pages += static_cast<uint32_t>(pages);
      page_count_ += pages;
      return true;
    }
  }
  runs_.push_back({{first_page, static_cast<uint32_t>(pages)}, page_count_});
  page_count_ += pages;
  return true;
}

Result<void> PageRuns::for_each_piece(uint64_t position, uint64_t pages, const Visit& visit) const {
  const uint64_t end = position + pages;
  auto entry = std::ranges::upper_bound(runs_, position, {}, &Entry::position);
  if (entry != runs_.begin()) --entry;
  for (; position < end && entry != runs_.end(); ++entry) {
    const uint64_t skipped = position - entry->position;
    const uint64_t count = std::min<uint64_t>(end - position, entry->run.pages - skipped);
    const PageRun piece{entry->run.first_page + skipped, static_cast<uint32_t>(count)};
    if (auto visited = visit(piece); !visited) return visited;
    position += count;
  }
  return {};
}

Result<void> PageRuns::for_each_missing(PageRun run, const Visit& visit) const {
  const uint64_t end = run.first_page + run.pages;
  const auto first_of = [](const Entry& entry) { return entry.run.first_page; };
  auto entry = std::ranges::upper_bound(runs_, run.first_page, {}, first_of);
  if (entry != runs_.begin()) --entry;
  for (uint64_t at = run.first_page; at < end; ++entry) {
    const bool is_last = entry == runs_.end() || entry->run.first_page >= end;
    const uint64_t until = is_last ? end : entry->run.first_page;
    if (until > at) {
      const PageRun missing{at, static_cast<uint32_t>(until - at)};
      if (auto visited = visit(missing); !visited) return visited;
    }
    if (is_last) break;
    at = std::max(at, entry->run.first_page + entry->run.pages);
  }
  return {};
}

PageRuns join(const std::vector<PageRuns>& sets, uint64_t memory_pages) {
  std::vector<PageRun> all;
  for (const PageRuns& set : sets) {
    for (size_t i = 0; i < set.size(); ++i) all.push_back(set[i]);
  }
  std::ranges::sort(all, {}, &PageRun::first_page);
  PageRuns joined(memory_pages);
  uint64_t end = 0;  // of what is joined so far
  for (const PageRun& run : all) {
    const uint64_t first = std::max(run.first_page, end);
    const uint64_t run_end = run.first_page + run.pages;
    if (run_end > first && joined.append(first, run_end - first)) end = run_end;
  }
  return joined;
}

}  // namespace microvm::state
