// That a thread of this process waits for something: the event to wait for before it is woken.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <fstream>
#include <string>

namespace microvm::test {

inline bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  const std::string stat((std::istreambuf_iterator<char>(file)), {});
  const size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.compare(name_end, 3, ") S") == 0;
}

inline void wait_until_asleep(pid_t thread) {
  while (!is_asleep(thread)) ::sched_yield();
}

}  // namespace microvm::test
