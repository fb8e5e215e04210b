// Waiting for what another thread or process does, instead of for a time.
#pragma once

#include <sys/ioctl.h>

#include <chrono>
#include <thread>

namespace microvm::agent {

// Until it is so, 10 s at most.
template <class Condition>
bool eventually(Condition is_so) {
  for (int i = 0; i < 1000; i++) {
    if (is_so()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// Until a number that grew does not grow any more: who makes it grow waits for room. 10 s at most.
template <class Number>
bool stands_still(Number number) {
  auto last = number();
  int same = 0;
  return eventually([&] {
    const auto now = number();
    same = now == last && now > 0 ? same + 1 : 0;
    last = now;
    return same == 10;
  });
}

// What has come to a socket and was not read.
inline int unread_bytes(int fd) {
  int bytes = 0;
  return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : -1;
}

}  // namespace microvm::agent
