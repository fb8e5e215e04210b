#include "sys/priority.hpp"

#include <sys/resource.h>

namespace microvm::sys {

// By PRIO_PROCESS and 0 Linux means the calling thread alone.
int own_nice() {
  return ::getpriority(PRIO_PROCESS, 0);
}

void set_own_nice(int nice) {
  ::setpriority(PRIO_PROCESS, 0, nice);
}

bool try_lower_and_raise() {
  const int usual = own_nice();
  return ::setpriority(PRIO_PROCESS, 0, usual + 1) == 0 &&
         ::setpriority(PRIO_PROCESS, 0, usual) == 0;
}

bool set_group_nice(pid_t group, int nice) {
  return ::setpriority(PRIO_PGRP, static_cast<id_t>(group), nice) == 0;
}

}  // namespace microvm::sys
