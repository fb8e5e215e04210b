// All signals blocked for the calling thread as long as this lives, and for the threads that it
// makes meanwhile as long as they live: an embedder's handlers are for the embedder's threads.
#pragma once

#include <csignal>

namespace microvm::base {

class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace microvm::base
