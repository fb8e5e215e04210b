#include "host/store/sparse_copy.hpp"

#include <algorithm>
#include <vector>

#include "host/store/files.hpp"
#include "sys/file.hpp"

namespace microvm::host {

Result<void> copy_data(int from, int to, const std::string& name, const CallCheck& check) {
  constexpr size_t kPieceBytes = 1u << 20;
  std::vector<std::byte> buffer(kPieceBytes);
  return sys::for_each_data_range(from, [&](uint64_t offset, uint64_t length) -> Result<void> {
    for (uint64_t done = 0; done < length; done += buffer.size()) {
      if (auto ok = check(); !ok) return ok;
      const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length - done));
      if (auto ok = sys::pread_full(from, part, offset + done); !ok) return ok;
      if (auto ok = pwrite_all(to, part, offset + done, name); !ok) return ok;
    }
    return {};
  });
}

}  // namespace microvm::host
