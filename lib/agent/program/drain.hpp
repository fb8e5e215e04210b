// What programs left running still writes into the pipes of those that have ended: it is read and
// dropped until the last writer has closed them, so that none is ended by SIGPIPE for it.
#pragma once

#include <vector>

#include "agent/base/sync.hpp"
#include "base/fd.hpp"

namespace microvm::agent {

class Drain {
 public:
  static constexpr size_t kMaxPipes = 2048;  // beyond that the oldest is closed

  Drain() = default;
  ~Drain();  // closes all and waits for its thread
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  // The reading end of a pipe that does not block; any thread. One that nobody writes to is closed.
  void adopt(base::Fd pipe);

  [[nodiscard]] size_t count();

 private:
  void run();
  [[nodiscard]] bool take_new();
  void read_all();
  void wake() const;

  std::vector<base::Fd> pipes_;  // its thread's

  Mutex mutex_;  // of what follows
  Condition changed_;
  std::vector<base::Fd> new_;
  base::Fd wake_;
  size_t count_ = 0;
  bool runs_ = false;
  bool ends_ = false;
};

}  // namespace microvm::agent
