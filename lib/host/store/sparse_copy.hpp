// Copies of sparse files that stay sparse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

// Writes ranges of one file over what another has at the same places. `name` of `to` stands in
// messages; `check` is asked between pieces. Errors: out_of_disk, io.
class RangeCopy {
 public:
  RangeCopy(int from, int to, std::string name, const CallCheck& check);
  Result<void> copy(uint64_t offset, uint64_t length);

 private:
  static constexpr size_t kPieceBytes = 1u << 20;
  int from_;
  int to_;
  std::string name_;
  const CallCheck& check_;
  std::vector<std::byte> buffer_;
};

// Writes the data of `from`; its holes leave `to` as it is. Only where a hole and zeros are the
// same: a file system may call zeros data.
Result<void> copy_data(int from, int to, const std::string& name, const CallCheck& check);

}  // namespace microvm::host
