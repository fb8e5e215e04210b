// How much of a busy processor a thread or a process of ours gets.
#pragma once

#include <sys/types.h>

namespace microvm::sys {

// Of the calling thread; threads and processes that it starts have it too.
[[nodiscard]] int own_nice();
void set_own_nice(int nice);  // a higher number only gets less; that it fails does no harm
inline constexpr int kLowestPriority = 19;

// Whether the calling thread could give itself back what it has given up: not without a privilege
// (CAP_SYS_NICE, or RLIMIT_NICE). Leaves a thread that may not with one step less: ask on one made
// for that.
[[nodiscard]] bool try_lower_and_raise();

// All threads of the process group. False: it is gone, or may not be raised.
bool set_group_nice(pid_t group, int nice);

}  // namespace microvm::sys
