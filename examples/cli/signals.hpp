// Signals that ask us to end: a command is cancelled by them, a program of a microVM gets them.
#pragma once

#include <functional>
#include <thread>

#include "microvm/cancel.hpp"

namespace cli {

// From now on the first SIGINT, SIGTERM or SIGHUP (where nohup did not ignore that) cancels the
// token and the second ends us at once. `token` outlives all signals.
void cancel_on_signals(microvm::CancelToken& token);
// The one that cancelled it; 0: none did.
int signal_of_cancel();

// While it lives such signals are a program's, and SIGQUIT, SIGUSR1 and SIGUSR2 too: they are
// passed on. A second one of those that ask for the end cancels cut(), a third ends us. There is at
// most one in a process's life.
class SignalRelay {
 public:
  // Called in a thread of the relay, with cut() to be cut short by; what came before it lived, and
  // cancelled, is passed on first.
  using PassOn = std::function<void(int signal, const microvm::CancelToken& cut)>;
  explicit SignalRelay(PassOn pass_on);
  ~SignalRelay();
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

  [[nodiscard]] const microvm::CancelToken& cut() const { return cut_; }
  // The signal that cancelled cut(); 0: none did.
  [[nodiscard]] static int signal_of_cut();

 private:
  void serve(int from) const;

  PassOn pass_on_;
  microvm::CancelToken cut_;
  microvm::CancelToken stop_;
  std::thread thread_;
};

}  // namespace cli
