// Makes one layer of two neighbouring ones.
#pragma once

#include <functional>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace microvm::vmm {

// Copies the granules that `upper` (opened O_RDONLY) holds into `lower` (O_RDWR), the layer right
// below it, and makes that durable. Nobody else writes to either or reads `lower` but under
// `upper`. A stack of both reads the same before, at every moment in between whatever is
// interrupted, and after; from then on so does one without `upper`.
//
// `before_write` is called before each change of the file; an error from it ends the merge, which
// can be begun anew. Blocks. Errors: invalid_argument (not neighbours, other granules or sizes),
// corrupt, out_of_disk, io, what before_write gives.
using BeforeWrite = std::function<Result<void>()>;
Result<void> merge_layers(base::Fd lower, base::Fd upper, const BeforeWrite& before_write);

}  // namespace microvm::vmm
