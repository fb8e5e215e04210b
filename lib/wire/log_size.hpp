// How much of a log there is: in the worker, in its file, and in what is read of either.
#pragma once

#include <cstddef>

namespace microvm::wire {

inline constexpr size_t kMaxLogBytes = size_t{256} * 1024;

}  // namespace microvm::wire
