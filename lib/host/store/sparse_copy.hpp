// Copies of sparse files that stay sparse.
#pragma once

#include <string>

#include "base/error.hpp"
#include "host/base/limits.hpp"

namespace microvm::host {

// Writes the data of `from` over what `to` has at the same places; holes of `from` leave it as it
// is. `name` of `to` stands in messages; `check` is asked between pieces. Errors: out_of_disk, io.
Result<void> copy_data(int from, int to, const std::string& name, const CallCheck& check);

}  // namespace microvm::host
