#include "host/store/sparse_copy.hpp"

#include <algorithm>
#include <vector>

#include "host/store/files.hpp"
#include "sys/file.hpp"

namespace microvm::host {

RangeCopy::RangeCopy(int from, int to, std::string name, const CallCheck& check)
    : from_(from), to_(to), name_(std::move(name)), check_(check), buffer_(kPieceBytes) {}

Result<void> RangeCopy::copy(uint64_t offset, uint64_t length) {
  for (uint64_t done = 0; done < length; done += buffer_.size()) {
    if (auto ok = check_(); !ok) return ok;
    const auto part = std::span(buffer_).first(std::min<uint64_t>(buffer_.size(), length - done));
    if (auto ok = sys::pread_full(from_, part, offset + done); !ok) return ok;
    if (auto ok = pwrite_all(to_, part, offset + done, name_); !ok) return ok;
  }
  return {};
}

Result<void> copy_data(int from, int to, const std::string& name, const CallCheck& check) {
  RangeCopy ranges(from, to, name, check);
  return sys::for_each_data_range(
      from, [&](uint64_t offset, uint64_t length) { return ranges.copy(offset, length); });
}

}  // namespace microvm::host
