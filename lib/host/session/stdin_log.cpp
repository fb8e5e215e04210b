#include "host/session/stdin_log.hpp"

#include <algorithm>

namespace microvm::host {

// Cut now and then only, so that a byte is moved once.
void StdinLog::append(wire::ByteView bytes, uint64_t needed) {
  kept_.insert(kept_.end(), bytes.begin(), bytes.end());
  end_ += bytes.size();
  if (kept_.size() < 2 * kKeptBytes) return;
  const uint64_t keep = std::max<uint64_t>(kKeptBytes, end_ - std::min(needed, end_));
  if (keep >= kept_.size()) return;
  kept_.erase(kept_.begin(), kept_.end() - static_cast<ptrdiff_t>(keep));
}

void StdinLog::take_back(size_t count) {
  kept_.resize(kept_.size() - count);
  end_ -= count;
}

wire::ByteView StdinLog::from(uint64_t position, size_t limit) const {
  const wire::ByteView rest = wire::ByteView(kept_).subspan(position - first());
  return rest.first(std::min(rest.size(), limit));
}

Result<void> StdinLog::check(uint64_t position, const std::string& what) const {
  if (position > end_) {
    return base::fail(ErrorCode::invalid_argument,
                      what + ": the program has read " + std::to_string(position) +
                          " bytes of stdin, and this client has written " + std::to_string(end_));
  }
  if (position < first()) {
    return base::fail(ErrorCode::invalid_argument,
                      what + ": the program has read " + std::to_string(position) +
                          " bytes of stdin, and those after it are not kept any more: the "
                          "microvm is an earlier one than was written to");
  }
  return {};
}

}  // namespace microvm::host
