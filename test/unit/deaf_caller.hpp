// A caller whose signals must not be those of the program that it starts.
#pragma once

#include <array>
#include <csignal>

namespace microvm::test {

// While it lives, this process ignores every signal that it can, and this thread, with those that
// it starts, blocks all.
class DeafCaller {
 public:
  DeafCaller() {
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    for (int number = 1; number < NSIG; ++number) {
      // Ignored, this one would take the children's status away.
      if (number != SIGCHLD)
        ignored_[at(number)] = ::sigaction(number, &ignore, &before_[at(number)]) == 0;
    }
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &mask_before_);
  }
  ~DeafCaller() {
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
    for (int number = 1; number < NSIG; ++number) {
      if (ignored_[at(number)]) ::sigaction(number, &before_[at(number)], nullptr);
    }
  }
  DeafCaller(const DeafCaller&) = delete;
  DeafCaller& operator=(const DeafCaller&) = delete;

 private:
  static size_t at(int number) { return static_cast<size_t>(number); }

  std::array<struct sigaction, NSIG> before_{};
  std::array<bool, NSIG> ignored_{};
  sigset_t mask_before_{};
};

}  // namespace microvm::test
