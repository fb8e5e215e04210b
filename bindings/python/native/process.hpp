// What this process is to the handles that were made in it: the same, or a child forked from it.
#pragma once

#include <cstdint>

namespace microvm::python {

// A number that another process, forked from this one, does not have.
uint32_t process_number() noexcept;

// Called once, at import.
void count_forks();

}  // namespace microvm::python
